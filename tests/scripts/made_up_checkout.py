"""A made-up checkout around the real scripts; its wheels are a few lines, all else is real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiny_wheels import TORCH, write_wheel

REPOSITORY = Path(__file__).parents[2]
PROJECT = f"""\
[build-system]
requires = []
build-backend = "builder"
backend-path = ["."]

[project]
name = "swiftbox"
version = "0"
dependencies = [
    "torch=={TORCH}",
    "helper==1.0",
]

[tool.swiftbox.tests]
model = "tiny-model==1.0"
"""
COMMAND = (
    'import os, sys\n\n\ndef main():\n    print("swiftbox:", *sys.argv[1:], os.getcwd(), sep="|")\n'
)
FAKE_TORCH = f"""\
import os
__version__ = "{TORCH}"
class version:
    cuda = hip = None
class accelerator:
    is_available = staticmethod(lambda: "DEVICE" in os.environ)
"""
TOOL = (
    "import os, sys\nprint({0!r}, *sys.argv[1:])\nsys.exit(int(os.environ.get('FAIL') == {0!r}))\n"
)


@dataclass(frozen=True)
class Outcome:
    """What a script answered."""

    code: int
    out: str
    talk: str


@dataclass(frozen=True)
class Checkout:
    """A checkout with its environment variables; `wheels` is all that pip can find."""

    folder: Path
    wheels: Path
    variables: Mapping[str, str]

    @property
    def venv(self) -> Path:
        """The environment that the scripts make by default."""
        return self.folder / ".venv"

    def run(
        self, script: str, *arguments: str, cwd: Path | None = None, **variables: str
    ) -> Outcome:
        """Run one of the checkout's scripts."""
        done = subprocess.run(
            ["bash", str(self.folder / script), *arguments],
            capture_output=True,
            text=True,
            env={**self.variables, **variables},
            cwd=cwd or self.folder.parent,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def quickstart(self, *arguments: str, **variables: str) -> Outcome:
        """Run scripts/quickstart."""
        return self.run("scripts/quickstart", *arguments, **variables)

    def plan(self, *arguments: str, **variables: str) -> list[str]:
        """The commands that quickstart would run."""
        outcome = self.quickstart("--print-plan", *arguments, **variables)
        assert outcome.code == 0, outcome.talk
        return outcome.out.splitlines()


def make_checkout(folder: Path, wheels: Path) -> Checkout:
    """Lay out the checkout; its own files are tiny, its scripts are the repository's."""
    (folder / "swiftbox/cli").mkdir(parents=True)
    (folder / "configs").mkdir()
    for package in ("swiftbox", "swiftbox/cli"):
        (folder / package / "__init__.py").write_text("")
    (folder / "swiftbox/cli/main.py").write_text(COMMAND)
    (folder / "pyproject.toml").write_text(PROJECT)
    for name in ("README.md", "LICENSE"):
        (folder / name).write_text("")
    shutil.copy(Path(__file__).with_name("tiny_wheels.py"), folder / "builder.py")
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    shutil.copytree(REPOSITORY / ".ci", folder / ".ci")
    wheels.mkdir()
    write_wheel(wheels, "torch", TORCH, {"torch/__init__.py": FAKE_TORCH})
    write_wheel(wheels, "helper", "1.0", {"helper.py": ""})
    write_wheel(
        wheels, "tiny_model", "1.0", {"tiny_model.py": ""}, metadata="Requires-Dist: compiled\n"
    )
    tools = {f"{name}/__main__.py": TOOL.format(name) for name in ("ruff", "mypy", "pytest")}
    lint = "def lint_imports_command():\n    " + TOOL.format("importlinter").replace("\n", "\n    ")
    empty = {
        f"{name}/__init__.py": "" for name in ("ruff", "mypy", "pytest", "importlinter", "xdist")
    }
    write_wheel(wheels, "tools", "1.0", tools | empty | {"importlinter/cli.py": lint})
    inherited = {
        name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ
    }
    variables = {
        **{name: os.environ[name] for name in inherited if name in os.environ},
        "HOME": str(wheels.parent),
        "LANG": "C.UTF-8",
        "SWIFTBOX_PYTHON": sys.executable,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }
    return Checkout(folder, wheels, variables)


def fake_tools(folder: Path, **bodies: str) -> str:
    """Put shell scripts before everything else on PATH: `nvidia_smi="exit 0"` is nvidia-smi."""
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        tool = folder / name.replace("_", "-")
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
