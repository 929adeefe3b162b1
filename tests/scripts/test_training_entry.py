"""scripts/train.py says what it executes before it starts, and asks as `swiftbox run` does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from model_folder import write_model

from swiftbox import worker

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, in a folder with a model that has code; no worker starts."""
    monkeypatch.chdir(tmp_path)
    model = write_model(tmp_path / "model")
    (model / "modeling_own.py").write_text("open('RAN', 'w')\n", "utf-8")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', "utf-8")
    (tmp_path / "a.yaml").write_text(
        "model: model\ndataset: rows.jsonl\ntrust_remote_code: true\n", "utf-8"
    )
    monkeypatch.setattr(worker, "main", lambda _: 0)
    monkeypatch.setattr("swiftbox.security.secrets.drop_secrets", lambda _: None)
    spec = importlib.util.spec_from_file_location("training_entry", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("options", "code"), [([], 2), (["--yes"], 0)])
def test_the_code_of_a_yaml_is_listed_and_needs_yes(
    entry: ModuleType, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["--config", "a.yaml", *options]) == code
    shown = capsys.readouterr().err
    assert "runs this code with your rights:" in shown
    assert "modeling_own.py" in shown
    assert Path("runs").exists() == (code == 0)
    assert not Path("RAN").exists()


@pytest.mark.parametrize(("processes", "selected"), [(1, "3"), (2, None)])
def test_several_processes_of_torchrun_keep_the_devices_that_they_see(
    entry: ModuleType, processes: int, selected: str | None
) -> None:
    planned = {"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "1"}
    variables = entry.own_environment(planned, processes)
    assert variables.get("CUDA_VISIBLE_DEVICES") == selected
    assert variables["OMP_NUM_THREADS"] == "1"
