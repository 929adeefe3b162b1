"""Fixtures of the script tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_up_checkout import Checkout, make_checkout

SHELL_TOOLS = ("bash", "cat", "cut", "sed", "awk", "ls", "df", "du", "dirname", "uname", "mkdir")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout, in a folder whose name has a space."""
    return make_checkout(tmp_path / "my check out", tmp_path / "wheels")


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout that is set up with its development tools; tests only look at it."""
    folder = tmp_path_factory.mktemp("ready")
    checkout = make_checkout(folder / "check out", folder / "wheels")
    outcome = checkout.quickstart("--setup-only", "--dev", "--backend", "cpu")
    assert outcome.code == 0, outcome.talk
    return checkout


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with the shell's own tools and no Python."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in SHELL_TOOLS:
        tool = shutil.which(name)
        assert tool, name
        (folder / name).symlink_to(tool)
    return str(folder)
