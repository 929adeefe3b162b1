"""What a pipeline remembers of its steps, and the mark that tells whether a result still holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.config.pipeline import FILE_KEYS, PipelineStep
from swiftbox.config.references import references_in, texts_in
from swiftbox.files import read_json, write_json
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.task import leave_the_result

STEPS, EARLIER = "steps", "earlier"

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
HASHED_BYTES = 64 * 2**20
"""Up to this the contents of what is not weights are read; above, size and time stand for them."""

WRITTEN_LATER = ("parity.json",)
"""Files of a model that the steps that use it write into its folder; hidden ones are others."""

WRITTEN = ("local_dir",)
"""Keys that name what a step writes, not what it reads."""

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"


@dataclass
class Record:
    """One step: how far it is, of which settings and inputs, and what it made."""

    name: str
    task: str
    folder: str
    """Relative to the pipeline's."""
    status: str = WAITING
    mark: str = ""
    finished: float | None = None
    seconds: float | None = None
    made: dict[str, str] = field(default_factory=dict)
    seen: dict[str, list[Any]] = field(default_factory=dict)
    """The identities of what it made, by output."""


def read(folder: Path) -> dict[str, Record]:
    """Return what is remembered of the steps, by name."""
    rows = read_json(folder / run_folder.PIPELINE).get("steps") or []
    return {row["name"]: Record(**row) for row in rows}


def write(folder: Path, records: Mapping[str, Record]) -> None:
    """Remember the steps."""
    rows = [asdict(one) for one in records.values()]
    write_json(folder / run_folder.PIPELINE, {"steps": rows})


def mark(step: PipelineStep, earlier: Mapping[str, Record]) -> str:
    """Return what changes when a step has to be done again.

    That is its settings, the files that they name, and of the steps that it refers to which of
    their results it is.
    """
    leaves = {*leave_the_result(step.config.task), *FILE_KEYS}
    values = step.config.model_dump(mode="json", exclude=leaves)
    read = texts_in({key: value for key, value in values.items() if key not in WRITTEN})
    used = {one.step for one in references_in(step.config.model_dump(mode="json"))}
    seen = {
        "settings": values,
        "files": {name: identity(Path(name)) for name in sorted(set(read)) if local(name)},
        "steps": {name: [earlier[name].mark, earlier[name].finished] for name in sorted(used)},
    }
    plain = json.dumps(seen, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def local(name: str) -> bool:
    """Tell whether a text is the absolute path of something on this machine."""
    return name.startswith("/") and _path(name) is not None


def identity(name: Path) -> list[Any]:
    """Return what tells the contents of a file, or of all files of a folder, from others.

    That is a hash where it is quickly made, of weights and of much data size and time.
    """
    path = _path(str(name))
    if path is None:
        return []
    files = [path] if path.is_file() else _files(path)
    plain = [one for one in files if one.suffix not in WEIGHTS]
    hashed = set(plain) if sum(one.stat().st_size for one in plain) <= HASHED_BYTES else set()
    return [
        [str(one.relative_to(path)), *(_contents(one) if one in hashed else _of_file(one))]
        for one in files
    ]


def made_by(outputs: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the identities of those outputs that are paths."""
    return {name: identity(Path(one)) for name, one in outputs.items() if one.startswith("/")}


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder, without what is noted beside them."""
    found = (one for one in folder.rglob("*") if one.is_file())
    return sorted(
        one
        for one in found
        if one.name not in WRITTEN_LATER
        and not any(part.startswith(".") for part in one.relative_to(folder).parts)
    )


def _contents(path: Path) -> list[Any]:
    return [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]


def _of_file(path: Path) -> list[Any]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _path(name: str) -> Path | None:
    """Return the file or folder of a path that may end in #500; None where there is none."""
    for one in (name, name.rpartition("#")[0]):
        if one.strip("/") and Path(one).exists():
            return Path(one)
    return None


@dataclass(frozen=True)
class Places:
    """Where the steps of a pipeline lie."""

    folder: Path

    def of(self, record: Record) -> Path:
        """Return the folder of a step."""
        return self.folder / record.folder

    def set_aside(self, record: Record) -> Path | None:
        """Move what lies in a step's folder out of the way; return where it is, None if nothing."""
        place = self.of(record)
        if not place.exists():
            return None
        kept = self.folder / STEPS / EARLIER
        kept.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            target = kept / f"{place.name}-{number}"
            if not target.exists():
                place.rename(target)
                return target
        return None


def name_of(number: int, name: str) -> str:
    """Return a step's folder relative to the pipeline's: its number, from 1, and its name."""
    return f"{STEPS}/{number:02}-{name}"
