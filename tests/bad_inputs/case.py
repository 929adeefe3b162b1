"""One bad input: the files and arguments of a command, and what has to be answered.

A group is a module with a function `cases()` that yields BadInput; groups.py lists the groups.
Every case runs in a new folder that already has what `write_surroundings` makes: the model
folder `m`, the rows `rows.jsonl`, and `a.yaml`, which trains one on the other and is sound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_folder import write_model

MakeFile = Callable[[Path], object]
"""Makes what a text cannot describe at a path: a FIFO, a link, a model folder."""

YAML = "model: m\nhub: local\ndataset: rows.jsonl\n"
"""A sound training; a case appends a line or replaces the file."""


@dataclass(frozen=True)
class BadInput:
    """A command that must be refused, and how."""

    name: str
    """Unique in its group; names the test."""
    arguments: tuple[str, ...] = ("check", "a.yaml")
    files: Mapping[str, str | bytes | MakeFile] = field(default_factory=dict)
    """By path in the folder of the case; written over the surroundings."""
    expected: str = ""
    """A part of what is said; empty where any error with a hint will do."""
    code: int = 2
    """The exit code. 0: the input is used, and a note says how (`expected` is required)."""
    needs_hint: bool = True
    """Whether `hint:` must follow the error; false for notes."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Variables to set, or with None to remove; the case then runs in a child."""
    in_child: bool = False
    """Whether it needs a separate process: what may hang, takes memory, or closes a stream."""
    command: str = ""
    """A shell line in place of `arguments`; `swiftbox` in it is the command. Runs in a child."""
    only_run: bool = False
    """Whether only `run` can refuse it; at most 5 % of all cases may be so."""


def with_line(line: str, **changes: str) -> dict[str, str | bytes | MakeFile]:
    """Return the files of a case whose a.yaml has another line, or keys of other values."""
    lines = [
        f"{key}: {changes.get(key, value)}"
        for key, _, value in (setting.partition(": ") for setting in YAML.splitlines())
    ]
    return {"a.yaml": "\n".join([*lines, line]) + "\n"}


def write_surroundings(folder: Path) -> None:
    """Write the model, the rows and the YAML that every case may use."""
    write_model(folder / "m")
    rows = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(4)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    (folder / "a.yaml").write_text(YAML, encoding="utf-8")


def write_files(case: BadInput, folder: Path) -> None:
    """Write the files of a case into its folder."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            if path.is_file():
                path.unlink()
            content(path)
