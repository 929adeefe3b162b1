"""The wheel holds what the checkout has: presets, tables, the guide."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SWIFTBOX = ROOT / "swiftbox"


@pytest.mark.slow
def test_the_wheel_holds_presets_tables_and_the_guide(tmp_path: Path) -> None:
    import shutil

    for name in ("swiftbox", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q",
         "-w", str(tmp_path), str(tmp_path / "source")],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "swiftbox/devices/backends.csv" in names
    suffixes = ("jsonl", "md", "css", "html", "js")
    data = (path for suffix in suffixes for path in SWIFTBOX.rglob(f"*.{suffix}"))
    assert {str(path.relative_to(ROOT)) for path in data} <= set(names)
    assert {"swiftbox/guide/en/quantize.md", "swiftbox/guide/zh/quantize.md"} <= set(names)
    presets = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert presets <= {name.rsplit("/", 1)[-1] for name in names if "/configs/" in name}
    assert not [name for name in names if name.startswith("tests")]
