"""One row of a picker, the columns it is shown in, and what every source of rows provides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from swiftbox.devices.machine import Machine
from swiftbox.formatting import size, width
from swiftbox.language import text
from swiftbox.models.catalogue import Dataset, Model
from swiftbox.models.local import LocalArtifact

MachineSource = Callable[[], Machine | None]
"""Returns the machine; None until its probe has answered."""

ALL, LOCAL = "all", "local"
"""Views that most sources have: everything, and what is on this machine."""


def unknown_machine() -> None:
    """Return None, for a list that needs no machine."""


@dataclass(frozen=True)
class Option:
    """One row of a list; `value` is what a config contains if it is chosen."""

    value: str
    name: str
    local: LocalArtifact | None = None
    row: Model | Dataset | None = None
    """Its row in the catalogue."""
    family: str = ""
    """The name of a family of models; choosing it lists its models."""
    count: int = 0
    """The number of models in the family."""


@dataclass(frozen=True)
class TableColumns:
    """The columns of a list: titles, widths in cells, and the places of those with numbers."""

    titles: tuple[str, ...]
    widths: tuple[int, ...]
    right: tuple[int, ...] = ()


class OptionSource(Protocol):
    """The rows that a picker shows."""

    @property
    def columns(self) -> TableColumns:
        """Return the columns of the list."""

    @property
    def local(self) -> list[Option]:
        """Return the rows on this machine; they are searched for once."""

    def views(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""

    def find(self, query: str, view: str, family: str = "") -> list[Option]:
        """Return the rows of a view that match a query."""

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""

    def details(self, option: Option) -> list[str]:
        """Return details of a row, the most important first."""


def matches(query: str, *parts: str) -> bool:
    """Tell whether every word of a query occurs in the parts of a row."""
    searched = " ".join(parts).lower()
    return all(word in searched for word in query.lower().split())


def marked_local(name: str) -> str:
    """Return the name of a row, marked as on this machine."""
    return text(f"here {name}", f"本机 {name}")


def full_name(option: Option, cells: int) -> list[str]:
    """Return the name if its column truncates it and no folder is shown that contains it."""
    return [option.name] if option.local is None and width(option.name) > cells else []


def location(local: LocalArtifact) -> str:
    """Return where a model or dataset is, its size, and whether it is complete."""
    amount = size(local.size_bytes)
    state = "" if local.complete else text(", incomplete", "，不完整")
    return text(f"{local.folder} ({amount}{state})", f"{local.folder}（{amount}{state}）")


def shortest_path(folder: Path) -> str:
    """Return a folder relative to the current one if it is below it, else absolute."""
    path, current = folder.resolve(), Path.cwd().resolve()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)


def config_path(folder: Path) -> str:
    """Return a folder as a config names it: with a slash, so that it reads as a path."""
    path = shortest_path(folder)
    return path if "/" in path else f"./{path}"
