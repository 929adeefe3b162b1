"""The best evaluation is the result, its checkpoint stays, and a training stops when it waits."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from in_process import box
from made_up import made_up
from recorded_training import Recorded, of_kind
from safetensors.torch import load_file
from tiny import write_chats, write_config
from transformers import EarlyStoppingCallback

from swiftbox.core.training.best_evaluation import Judgement
from swiftbox.core.training.held_out import HeldOutLoss
from swiftbox.plan import plan
from swiftbox.runs import folder as run_folder
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")

LOSSES = (9.0, 3.0, 2.0, 2.5, 2.4, 2.1, 1.0)
"""The held-out loss after each update; the last is never reached with a patience of 3."""
KEYS: dict[str, object] = {
    "max_steps": 6,
    "val_size": 4,
    "eval_steps": 1,
    "save_steps": 4,
    "save_total_limit": 1,
    "early_stopping_patience": 3,
    "learning_rate": 1e-2,
}


@pytest.fixture
def fixed_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the value of each evaluation; everything around it is real."""

    def compute(held_out: HeldOutLoss) -> float:
        return LOSSES[held_out.trainer.state.global_step]

    monkeypatch.setattr(HeldOutLoss, "compute", compute)


Run = Callable[..., Recorded]


@pytest.fixture
def run(tmp_path: Path, tiny: Path) -> Run:
    """Return a function that trains in one folder, again and again, and returns the events."""
    data = write_chats(tmp_path / "chat.jsonl", 24)

    def train(**keys: object) -> Recorded:
        path = write_config(tmp_path / "a.yaml", tiny, data, **{**KEYS, **keys})
        config = plan(load(path).config, made_up("cpu")).config
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        recorded: Recorded = []
        TASKS["train"].run(config, folder, lambda event, **fields: recorded.append((event, fields)))
        return recorded

    return train


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.usefixtures("fixed_losses")
@pytest.mark.parametrize("tuner_type", ["lora", "full"])
def test_the_result_is_the_best_checkpoint_which_no_limit_deletes(
    tuner_type: str, run: Run, tmp_path: Path
) -> None:
    recorded = run(tuner_type=tuner_type, dtype="float32")
    (done,) = of_kind(recorded, "done")
    assert (done["steps"], done["best_step"], done["best"]) == (5, 2, 2.0)
    assert [entry["best"] for entry in of_kind(recorded, "eval")] == [True, True] + 3 * [False]
    checkpoints = run_folder.checkpoints(tmp_path / "run")
    assert [path.name for path in checkpoints] == ["checkpoint-2", "checkpoint-5"]
    best, last = (weights(path) for path in checkpoints)
    result = weights(tmp_path / "run" / "model")
    assert same(result, best)
    assert not same(best, last)
    messages = [note["message"] for note in of_kind(recorded, "note")]
    assert any("stops early: 3 evaluations in a row" in message for message in messages)
    assert done["evaluations"] == 5


@pytest.mark.usefixtures("fixed_losses")
@pytest.mark.parametrize("last", [2, 5])
def test_a_resumed_training_counts_on_and_ends_alike(last: int, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(save_steps=1, save_total_limit=9)
    straight = weights(folder / "model")
    shutil.rmtree(folder / "model")
    for step in range(last + 1, 6):
        shutil.rmtree(folder / "checkpoints" / f"checkpoint-{step}")
    recorded = run(save_steps=1, save_total_limit=9)
    assert of_kind(recorded, "start")[0]["resumed_from"] == last
    (done,) = of_kind(recorded, "done")
    assert (done["steps"], done["best_step"]) == (5, 2)
    assert same(weights(folder / "model"), straight)


@pytest.mark.usefixtures("fixed_losses")
def test_without_patience_every_update_is_trained_and_the_best_is_the_result(
    run: Run, tmp_path: Path
) -> None:
    recorded = run(early_stopping_patience=None, load_best_model_at_end=True, save_steps=0)
    (done,) = of_kind(recorded, "done")
    assert (done["steps"], done["best_step"]) == (6, 6)
    assert not of_kind(recorded, "warning")
    assert same(weights(tmp_path / "run" / "model"), weights_of_step(tmp_path, 6))


@pytest.mark.usefixtures("fixed_losses")
def test_early_stopping_alone_keeps_the_last_update(run: Run, tmp_path: Path) -> None:
    recorded = run(load_best_model_at_end=False, save_steps=1)
    (done,) = of_kind(recorded, "done")
    assert done["steps"] == 5
    assert "best_step" not in done
    assert same(weights(tmp_path / "run" / "model"), weights_of_step(tmp_path, 5))


def test_a_patience_that_cannot_run_out_is_warned_of(run: Run) -> None:
    recorded = run(early_stopping_patience=7, max_steps=2)
    messages = [warning["message"] for warning in of_kind(recorded, "warning")]
    assert any("cannot run out in 2 evaluations" in message for message in messages)


def weights_of_step(tmp_path: Path, step: int) -> dict[str, torch.Tensor]:
    return weights(tmp_path / "run" / "checkpoints" / f"checkpoint-{step}")


@pytest.mark.usefixtures("fixed_losses")
def test_the_record_of_a_run_names_its_best_checkpoint(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 24)
    path = write_config(tmp_path / "a.yaml", tiny, data, output_dir=str(tmp_path / "r"), **KEYS)
    ended = box("run", str(path), "--plain", cwd=tmp_path)
    assert "the result is checkpoint-2, the best of 5 evaluations: loss 2.0000" in ended.stderr
    assert ended.stderr.count("the result is checkpoint-2") == 1
    shown = box("runs", "show", str(tmp_path / "r"), cwd=tmp_path).stdout
    assert "best_checkpoint: checkpoint-2\n" in shown
    assert '"best_step": 2' in shown


def waits_of_transformers(values: Sequence[float], threshold: float, *, greater: bool) -> list[int]:
    """Return how many evaluations transformers has waited after each of these."""
    callback = EarlyStoppingCallback(99, threshold)
    arguments = SimpleNamespace(greater_is_better=greater)
    state = SimpleNamespace(best_metric=None)
    waits = []
    for value in values:
        callback.check_metric_value(arguments, state, None, value)
        waits.append(callback.early_stopping_patience_counter)
        best = state.best_metric
        if best is None or (value > best if greater else value < best):
            state.best_metric = value
    return waits


@pytest.mark.parametrize("greater", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_patience_is_counted_as_transformers_counts_it(greater: bool, threshold: float) -> None:
    generator = random.Random(0)
    judgement = Judgement("loss", greater, threshold, patience=3)
    for _ in range(50):
        values = [round(generator.random(), 2) for _ in range(12)]
        history = [{"eval_loss": value, "step": n} for n, value in enumerate(values, 1)]
        waits = [judgement.judge(history[: n + 1]).waited for n in range(12)]
        assert waits == waits_of_transformers(values, threshold, greater=greater)
        best = (max if greater else min)(values)
        assert judgement.judge(history).value == best
        assert judgement.judge(history).step == 1 + values.index(best)


def test_an_evaluation_without_a_number_is_never_the_best() -> None:
    history = [{"eval_loss": value, "step": n} for n, value in enumerate([math.nan, 2.0, math.nan])]
    verdict = Judgement("loss").judge(history)
    assert (verdict.step, verdict.value, verdict.waited) == (1, 2.0, 1)
    assert Judgement("loss").judge(history[:1]).step is None


def test_evaluations_before_an_extension_are_not_waited_for() -> None:
    history = [{"eval_loss": loss, "step": n} for n, loss in enumerate([1.0, 2, 3, 4, 5])]
    verdict = Judgement("loss", since=3).judge(history)
    assert (verdict.step, verdict.waited) == (0, 1)
