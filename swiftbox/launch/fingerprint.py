"""A cheap fingerprint of the files that a config names: path, size and modification time.

It relies on what `make` relies on: a file whose size and modification time (in nanoseconds) are
unchanged has unchanged content. No content is read, so a data set of any size costs one `stat`
per file. A tool that rewrites a file in place with the same length and restores its time is not
noticed. The child does not rely on it: it identifies the data by a hash of the content, for the
record of the run and for the token cache, where it finds the rows of an earlier run encoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.task import TaskConfig

MAX_FILES = 20_000
"""More files than this take longer than 0.1 s on a local disk; they count as changed."""

FileState = tuple[str, int, int]
"""Path, size in bytes, modification time in nanoseconds."""

Fingerprint = tuple[FileState, ...]


def fingerprint(config: TaskConfig) -> Fingerprint | None:
    """Return the state of every local file that a config names; None if a folder is too large.

    The run folder (`output_dir`) is left out: a run writes it, and nothing is read from it.
    """
    states: list[FileState] = []
    for name in sorted(set(_strings(config.model_dump()))):
        for path in _paths(name):
            for state in _states(path):
                if len(states) == MAX_FILES:
                    return None
                states.append(state)
    return tuple(states)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key != "output_dir":
                yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _paths(name: str) -> Iterator[Path]:
    """Yield the existing path in a value such as `rows.jsonl`, `rows.jsonl#500` or `f.py:name`."""
    for candidate in dict.fromkeys((name, name.rpartition("#")[0], name.rpartition(":")[0])):
        if not candidate or "\n" in candidate:
            continue
        path = Path(candidate).expanduser()
        try:
            if path.exists():
                yield path
        except OSError:  # longer than a file name can be: a prompt, not a path
            continue


def _states(path: Path) -> Iterator[FileState]:
    """Yield the state of a file, or of every file below a folder in a fixed order."""
    if path.is_dir():
        for folder, subfolders, files in os.walk(path):
            subfolders.sort()
            for file in sorted(files):
                yield from _state(Path(folder, file))
    else:
        yield from _state(path)


def _state(path: Path) -> Iterator[FileState]:
    try:
        status = path.stat()
    except OSError:  # deleted meanwhile, or a dangling link: its absence is its state
        return
    yield str(path), status.st_size, status.st_mtime_ns
