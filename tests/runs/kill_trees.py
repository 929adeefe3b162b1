"""Compare what a killed and continued run left with what an uninterrupted one left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from swiftbox.files import is_temporary

VARYING = re.compile(
    r"(^|/)(log\.txt|events\.jsonl|state\.json|versions\.json|machine\.json|pipeline\.json|"
    r"estimate\.json|\.swiftbox[^/]*|.*\.result\.json|trainer_state\.json|quantize\.json|merge\.json)$"
    r"|^home/(origin\.key|verified|devices|probe)[^/]*|\.lock$|\.lock/|^hf/|^\.modelscope/|^ms/\.|/\.msc$|/\.mv$"
)
"""Files with times, process ids or figures of one process: they must exist, their content varies.

The state of the trainer holds whether it was stopped; its steps are in the weights."""

STATE_SIZE = re.compile(rb'"trainer_state\.json": \d+')
"""The size of that file in the list of a checkpoint's files."""

UNFINISHED = re.compile(r"(^|/)(\.partial|\.model|\.starting|stop)(/|$)|\.incomplete$|\.partial$")


CHECKPOINT = re.compile(r"(.*/checkpoint-\d+)/")


SIGNATURE = re.compile(rb"^# signature: [0-9a-f]+\n", re.M)


def is_other_stop(name: str) -> bool:
    """Tell whether a file is in a checkpoint: a stop saves one at another step."""
    return CHECKPOINT.match(name) is not None


def files(place: Path) -> dict[str, Path]:
    """Return the files of a place by name; a link into the index has no hash of its path."""
    paths = (path for path in place.rglob("*") if path.is_symlink() or path.is_file())
    by_name = {}
    for path in paths:
        name = str(path.relative_to(place))
        by_name[name.partition("@")[0] if name.startswith("home/runs/") else name] = path
    return by_name


def temporaries(place: Path) -> list[str]:
    """Return what is half-written in a place."""
    return [
        str(path.relative_to(place))
        for path in place.rglob("*")
        if is_temporary(path.name) or UNFINISHED.search(str(path.relative_to(place)))
    ]


def differences(expected: Path, actual: Path) -> list[str]:
    """Return what a place has that the other has not, and files with another content."""
    before, after = files(expected), files(actual)
    differing = [f"left half-written: {name}" for name in temporaries(actual)]
    missing = {f"missing: {name}": name for name in before.keys() - after.keys()}
    left = {f"left: {name}": name for name in after.keys() - before.keys()}
    differing += sorted(line for line, name in (missing | left).items() if not is_other_stop(name))
    checkpoints = {match[1] for match in map(CHECKPOINT.match, after) if match}
    differing += [
        f"incomplete: {name}" for name in checkpoints if f"{name}/complete.json" not in after
    ]
    return differing + list(_other_contents(expected, actual))


def _other_contents(expected: Path, actual: Path) -> Iterator[str]:
    before, after = files(expected), files(actual)
    for name in sorted(before.keys() & after.keys()):
        if VARYING.search(name) or before[name].is_symlink():
            continue
        if _content(before[name], expected) != _content(after[name], actual):
            yield f"differs: {name}"


def _content(path: Path, place: Path) -> bytes:
    """Return the content of a file without the path of its place and without its signature."""
    content = STATE_SIZE.sub(b"", path.read_bytes())
    if path.suffix in (".yaml", ".json"):
        content = SIGNATURE.sub(b"", content.replace(bytes(place), b"PLACE"))
    return content
