"""An invented engine of a few lines: real pip, real environments, wheels built on the spot.

As a script it is the command line with that engine in the table: `python toy_engine.py engines
list`; there, the task `download` needs the engine.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

from tiny_wheels import write_wheel

from swiftbox import engines
from swiftbox.engines.engine import EVERYWHERE, Engine

TESTS = Path(__file__).parent
GATE = "TOY_GATE"
"""Names the file that the build of the second step reads first: a FIFO pauses it there."""

SELFTEST = """
import toy, late
assert toy.double(2) == 4 and late.READY
"""

TOY = Engine(
    name="toy",
    about=("doubles numbers", "把数翻倍"),
    requirements={EVERYWHERE: ("toy==1.0",)},
    late=("late==1.0",),
    size_bytes={EVERYWHERE: 30_000_000},
    measured=("cpu",),
    env={"TOY_WORKERS": "2"},
    selftest=SELFTEST,
)

BACKEND = f"""
import os, sys
sys.path.insert(0, {str(TESTS / "scripts")!r})
from tiny_wheels import write_wheel


def build_wheel(folder, config_settings=None, metadata_directory=None):
    from pathlib import Path
    import toy  # installed by the first step
    open(os.environ["{GATE}"]).read()
    return write_wheel(Path(folder), "late", "1.0", {{"late.py": "READY = True\\n"}})
"""
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "late"
version = "1.0"
"""


def make_index(folder: Path) -> Path:
    """Write the packages of the toy: two versions, a dependency, and a source package."""
    folder.mkdir(parents=True)
    code = {"toy/__init__.py": "from toy.sums import double\n", "toy/sums.py": DOUBLE}
    for version in ("1.0", "1.1"):
        write_wheel(folder, "toy", version, code, metadata="Requires-Dist: toy-helper==1.0\n")
    write_wheel(folder, "toy_helper", "1.0", {"toy_helper.py": "TWO = 2\n"})
    files = {"pyproject.toml": PROJECT, "backend.py": BACKEND, "PKG-INFO": PKG_INFO}
    with tarfile.open(folder / "late-1.0.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"late-1.0/{name}")
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    return folder


DOUBLE = "from toy_helper import TWO\n\n\ndef double(number):\n    return TWO * number\n"
PKG_INFO = "Metadata-Version: 2.1\nName: late\nVersion: 1.0\n"


def variables(index: Path, home: Path) -> dict[str, str]:
    """Return variables by which pip uses only this index, and swiftbox this home."""
    (gate := index / "open-gate").touch()
    paths = (str(TESTS), str(TESTS / "scripts"))
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "SWIFTBOX_HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": index.as_uri(),
        "PIP_NO_CACHE_DIR": "1",
        GATE: str(gate),
    }


def main() -> int:
    """Run the command line with the toy in the table of engines."""
    from swiftbox.cli.main import main as command_line
    from swiftbox.launch import prepare
    from swiftbox.tasks import TASKS

    engines.ENGINES["toy"] = TOY
    needing = replace(TASKS["download"], engines=lambda _config, _machine: ("toy",))
    prepare.TASKS = {**TASKS, "download": needing}
    return command_line()


def toy_command(*arguments: str) -> list[str]:
    """Return the command that runs a verb with the toy in the table."""
    return [sys.executable, __file__, *arguments]


if __name__ == "__main__":
    sys.exit(main())
