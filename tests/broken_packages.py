"""Installed packages that raise when they are imported, as one built for another torch does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def install_broken(folder: Path, names: Iterable[str]) -> Path:
    """Write packages with their metadata into a folder for PYTHONPATH; return the folder."""
    for name in names:
        package, metadata = folder / name, folder / f"{name}-9.9.dist-info"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"raise RuntimeError('{name} is broken')\n", "utf-8")
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name}\nVersion: 9.9\n", "utf-8")
        (metadata / "top_level.txt").write_text(f"{name}\n", "utf-8")
    return folder
