"""The error for a data file that does not exist, with the file that was probably meant."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from swiftbox.data.readers import row_type
from swiftbox.errors import DataError, UserError
from swiftbox.formatting import near
from swiftbox.language import text

MAX_LISTED = 2000
"""Names of a folder that are compared."""

MAX_SUGGESTIONS = 3


def missing_file(name: str, key: str = "dataset", error: type[UserError] = DataError) -> UserError:
    """Return the error for a path under a setting's `key` at which nothing is."""
    neighbours = neighbours_of(name)
    start = text("relative paths start where the command runs", "相对路径以运行命令的目录为起点")
    listed = text(" or ", " 或 ").join(neighbours)
    return error(
        text(f"{key}: no file {name}", f"{key}：文件 {name} 不存在"),
        hint=text(f"did you mean {listed}?", f"是否指 {listed}？") if neighbours else start,
    )


def neighbours_of(path_name: str) -> list[str]:
    """Return the paths that are most likely meant, written as the missing one is."""
    path = Path(path_name)
    folder = path.expanduser().parent
    missing = [path.name]
    while not folder.is_dir() and folder != folder.parent:  # a folder of the path is missing
        missing.insert(0, folder.name)
        folder = folder.parent
    written = path
    for _ in missing:
        written = written.parent
    names = [neighbour for neighbour in _names_in(folder) if neighbour != missing[0]]
    is_last = len(missing) == 1
    candidates = [item for item in names if not is_last or _holds_rows(folder, item)]
    return [
        written.joinpath(name, *missing[1:]).as_posix() for name in _nearest(missing[0], candidates)
    ]


def _nearest(name: str, candidates: list[str]) -> list[str]:
    """Return the names that differ in their suffixes or letter case only, else similar ones."""
    stem = _stem(name)
    same = [item for item in candidates if _stem(item) == stem]
    by_stem = {_stem(item): item for item in reversed(candidates)}
    similar = [by_stem[item] for item in near(stem, by_stem, limit=MAX_SUGGESTIONS)]
    return list(dict.fromkeys([*same, *similar]))[:MAX_SUGGESTIONS]


def _stem(name: str) -> str:
    return name.lower().partition(".")[0]


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in islice(folder.iterdir(), MAX_LISTED))
    except OSError:
        return []


def _holds_rows(folder: Path, name: str) -> bool:
    return row_type(Path(name)) is not None or (folder / name).is_dir()
