"""The real engines, from the package index: `pytest -m network tests/engines`, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import swiftbox.engines as table
from swiftbox.engines.install import install, remove
from swiftbox.engines.self_test import self_test
from swiftbox.engines.state import engine_state

HERE = [one.name for one in table.ENGINES.values() if not one.refusal("cpu")]


@pytest.mark.network
@pytest.mark.parametrize("name", HERE)
def test_it_is_installed_whole_needs_no_index_again_and_is_removed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "a home"))
    found = install(name, "cpu", say=print)
    assert found.status == "installed"
    assert found.versions == table.ENGINES[name].pins("cpu")
    assert found.size_bytes == pytest.approx(table.ENGINES[name].size("cpu"), rel=0.25)
    verdict = self_test(name)
    assert verdict.ok, verdict.problem
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert install(name, "cpu", say=pytest.fail) == found
    assert remove(name) >= found.size_bytes
    assert engine_state(name).status == "absent"
    assert list(found.folder.parent.iterdir()) == []
