"""What a folder holds, to compare it before and after something that may not change it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

SENTINELS = (
    ".profile",
    ".bashrc",
    ".ssh/authorized_keys",
    ".config/autostart/x.desktop",
    "escaped",
    "work/.git/hooks/post-checkout",
    "work/notes.txt",
    "work/runs/earlier/state.json",
)
"""Files of a user that nothing may change."""


def home_with_sentinels(folder: Path) -> Path:
    """Make a home with files that are worth something; return the folder to work in."""
    for name in SENTINELS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}\n", encoding="utf-8")
    return folder / "work"


def tree(folder: Path, roots: Collection[str] = ()) -> dict[str, str]:
    """Return the content of everything below a folder, by path; what is in `roots` is left out."""
    content: dict[str, str] = {}
    for place, folders, files in os.walk(folder):
        relative = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if (relative / name).as_posix() not in roots]
        for name in (*folders, *files):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                content[(relative / name).as_posix()] = f"link to {os.readlink(path)}"
            elif stat.S_ISREG(mode):
                content[(relative / name).as_posix()] = path.read_text("utf-8", "replace")
            else:
                content[(relative / name).as_posix()] = "folder"
    return content
