"""What is said about how files are read: their encoding, packing and separators."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from swiftbox.data.files import ChosenFiles, files_of
from swiftbox.data.readers import reading_of
from swiftbox.data.source import RowSource
from swiftbox.language import text
from swiftbox.security.printable import printable

MAX_FILES = 3
"""Files that are named; the others are counted."""


@dataclass
class FileReadings:
    """The files that are not plain UTF-8 with commas, by what is said about them."""

    files: dict[tuple[tuple[str, str], ...], list[str]] = field(default_factory=dict)

    def add(self, chosen: ChosenFiles) -> None:
        """Note the files of a source; one that cannot be read is reported by its rows."""
        for file in chosen.files:
            with suppress(OSError):
                if notes := reading_of(file):
                    self.files.setdefault(tuple(notes), []).append(chosen.label(file))

    def lines(self) -> list[str]:
        """Return one line for each way in which files are read."""
        return [
            printable(f"{_listed(files)}{text(': ', '：')}{_described(notes)}")
            for notes, files in self.files.items()
        ]

    def data(self) -> list[dict[str, object]]:
        """Return the lines as JSON values."""
        return [
            {"files": files, "read": [en for en, _ in notes]} for notes, files in self.files.items()
        ]


def readings_of(sources: Iterable[RowSource]) -> FileReadings:
    """Return how the files of local sources are read."""
    readings = FileReadings()
    for source in sources:
        readings.add(files_of(source))
    return readings


def _described(notes: Iterable[tuple[str, str]]) -> str:
    return text(", ", "，").join(text(en, zh) for en, zh in notes)


def _listed(files: list[str]) -> str:
    names = ", ".join(files[:MAX_FILES])
    more = len(files) - MAX_FILES
    return names + text(f" and {more} more", f" 等 {len(files)} 个文件") if more > 0 else names
