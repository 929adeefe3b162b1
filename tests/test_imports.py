"""The import contracts of pyproject.toml: they hold, catch a violation and name all rooms."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from house_laws import PACKAGE, ROOT


def test_layers_import_downhill() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_of_an_engine_may_import_no_other_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (alone,) = (row for row in contracts if row.get("source_modules") == ["swiftbox.engines.tools"])
    rooms = [path for path in PACKAGE.iterdir() if path != PACKAGE / "engines"]
    rooms += [path for path in (PACKAGE / "engines").iterdir() if path.name != "tools"]
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in rooms
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").is_file()
    }
    assert set(alone["forbidden_modules"]) == modules


def test_a_layer_that_imports_upward_is_caught(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "swiftbox")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    errors = tmp_path / "swiftbox" / "data" / "example.py"
    errors.write_text(errors.read_text() + "\nimport swiftbox.plan\n", encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Imports run downhill BROKEN" in done.stdout
