"""A toy engine in the table, and an installed one in a home whose path has a space."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_engine import TOY, make_index, variables

from swiftbox import engines
from swiftbox.engines.install import install


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package index of the toy engine."""
    return make_index(tmp_path_factory.mktemp("index") / "wheels")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, index: Path) -> tuple[Path, list[str]]:
    """A home with the toy installed, and the output of the install."""
    home = tmp_path_factory.mktemp("a user") / "my home"
    output: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, index, home)
        install("toy", "cpu", say=output.append)
    return home, output


@pytest.fixture
def toy(installed: tuple[Path, list[str]], index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the installed toy; a test that damages it installs it again."""
    _enter(monkeypatch, index, installed[0])
    return installed[0] / "engines" / "toy"


@pytest.fixture
def fresh(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the toy would be installed; still absent."""
    home = tmp_path / "my home"
    _enter(monkeypatch, index, home)
    return home / "engines" / "toy"


def _enter(patch: pytest.MonkeyPatch, index: Path, home: Path) -> None:
    for name, value in variables(index, home).items():
        patch.setenv(name, value)
    patch.setitem(engines.ENGINES, "toy", TOY)  # type: ignore[arg-type]
