"""The real engines, from the package index: `pytest -m network tests/engines`, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox import engines
from swiftbox.engines.install import install, remove
from swiftbox.engines.self_test import self_test
from swiftbox.engines.state import engine_state

INSTALLABLE = [row.name for row in engines.ENGINES.values() if not row.refusal("cpu")]


@pytest.mark.network
@pytest.mark.parametrize("name", INSTALLABLE)
def test_it_is_installed_completely_needs_no_index_again_and_is_removed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "a home"))
    state = install(name, "cpu", say=print)
    assert state.status == "installed"
    assert state.versions == engines.ENGINES[name].pins("cpu")
    assert state.size_bytes == pytest.approx(engines.ENGINES[name].size("cpu"), rel=0.25)
    verdict = self_test(name)
    assert verdict.ok, verdict.problem
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert install(name, "cpu", say=pytest.fail) == state
    assert remove(name) >= state.size_bytes
    assert engine_state(name).status == "absent"
    assert list(state.folder.parent.iterdir()) == []
