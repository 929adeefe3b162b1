"""The wheel brings what the checkout has: the presets, the backends table."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_holds_presets_and_tables(tmp_path: Path) -> None:
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
    inside = {str(path.relative_to(ROOT)) for path in (ROOT / "swiftbox").rglob("*.jsonl")}
    assert inside | {"swiftbox/evaluation/page.css"} <= set(names)
    assert {f"swiftbox/evaluation/sample/{one}/README.md" for one in ("ceval", "mmlu")} <= set(
        names
    )
    presets = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert presets <= {name.rsplit("/", 1)[-1] for name in names if "/configs/" in name}
    assert not [name for name in names if name.startswith("tests")]
