"""The loss on own rows is the trainer's on the same rows, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from box import events
from in_process import box
from made_up import made_up
from tiny import write_chats, write_config

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.evaluation.candidates import (
    Candidate,
    candidates,
    servers,
    with_absolute_paths,
)
from swiftbox.evaluation.own_rows import measuring
from swiftbox.evaluation.own_rows.row_files import RowFiles
from swiftbox.files import read_json
from swiftbox.tasks.evaluate_rows import OwnRows

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _child_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which has imported torch."""
    from swiftbox.evaluation.own_rows.measure import measure

    def run(_command: Any, request: Any, _folder: Path, emit: Any, _stop: Any) -> dict[str, Any]:
        measure(request, emit)
        return {"done": True}

    monkeypatch.setattr(measuring, "run_command", run)


def trained(tiny: Path, folder: Path, **keys: Any) -> Path:
    """Train an adapter that holds out rows, and evaluate it after its last update."""
    data = write_chats(folder / "chat.jsonl", 14)
    steps = {"max_steps": 3, "eval_steps": 3, "save_steps": 0, "max_length": 64}
    values: dict[str, Any] = {"val_size": 0.4, **steps, **keys}
    config = write_config(folder / "a.yaml", tiny, data, **values)
    box("run", str(config), "--plain", f"output_dir={folder / 'run'}", cwd=folder)
    return folder / "run"


def measured(run: Path, out: Path) -> tuple[RowFiles, tuple[Candidate, ...]]:
    """Measure base and adapter; return the files and the candidates."""
    config = with_absolute_paths(EvaluateConfig(adapter=str(run), dtype="float32"))
    models = candidates(config)
    rows = OwnRows.of(config, models, out, lambda *_, **__: None)
    assert rows is not None
    assert rows.prepare(servers(models), made_up("cpu"))
    return rows.files, models


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"val_size": 0, "val_dataset": "v.jsonl"},
        {"train_on_prompt": True, "label_smoothing_factor": 0.1, "padding_free": "false"},
    ],
    ids=["split", "named", "prompt"],
)
def test_the_loss_on_held_out_rows_is_that_of_the_trainer(
    tiny: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    write_chats(tmp_path / "v.jsonl", 5, seed=3)
    run = trained(tiny, tmp_path, **keys)
    files, models = measured(run, tmp_path / "out")
    first, adapter = (read_json(files.losses(item)) for item in models)
    (last,) = events(run, "eval")
    assert adapter["loss"] == last["loss"]
    assert first["loss"] != adapter["loss"]
    assert sum(adapter["sums"]) / sum(adapter["counts"]) == pytest.approx(adapter["loss"], 1e-6)
    (data,) = events(run, "data")
    assert len(adapter["sums"]) == len(read_json(files.rows)["rows"]) == data["held_out"]
