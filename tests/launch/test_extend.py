"""`runs extend`: a longer training from the last checkpoint, in a new folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import box
from safetensors.torch import load_file
from tiny import write_chats, write_config

from swiftbox.config.schedule_curve import rate_at
from swiftbox.core.data.rows import EpochSampler
from swiftbox.core.training.loader import TrainingLoader, UpdateShape
from swiftbox.launch.extend import updates_of
from swiftbox.launch.output_folder import settled_in
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.load import loads

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 12
KEYS: dict[str, object] = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 1,
    "lora_dropout": 0.1,
    "save_steps": 2,
    "learning_rate": 1e-2,
    "max_steps": None,
}
"""Three updates per epoch."""


def trained(folder: Path, model: Path, name: str, **keys: object) -> Path:
    """Run a training by the command line; return its folder."""
    data = folder / "chat.jsonl"
    if not data.is_file():
        write_chats(data, ROWS)
    settings = {**KEYS, "output_dir": str(folder / name), **keys}
    path = write_config(folder / f"{name}.yaml", model, data, **settings)
    box("run", str(path), "--plain", cwd=folder)
    return folder / name


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "adapter_model.safetensors")


def steps(folder: Path) -> list[dict[str, Any]]:
    return [event for event in run_folder.every_event(folder) if event["event"] == "step"]


def test_with_a_constant_rate_it_is_the_longer_training_bit_for_bit(
    tmp_path: Path, tiny: Path
) -> None:
    keys = {"lr_scheduler_type": "constant"}
    straight = trained(tmp_path, tiny, "long", num_train_epochs=3, **keys)
    short = trained(tmp_path, tiny, "short", **keys)
    before = weights(short)
    box("runs", "extend", "short", "num_train_epochs=3", "--plain", cwd=tmp_path)
    extended = tmp_path / "short-extended"
    expected, result = weights(straight), weights(extended)
    assert all(torch.equal(result[name], expected[name]) for name in expected)
    assert [event["step"] for event in steps(extended)] == list(range(4, 10))
    assert [event["loss"] for event in steps(extended)] == [
        event["loss"] for event in steps(straight)[3:]
    ]
    assert all(torch.equal(weights(short)[name], before[name]) for name in before)
    assert (short / "checkpoints" / "checkpoint-3").is_dir()


def test_the_rate_continues_on_the_curve_of_the_new_length(tmp_path: Path, tiny: Path) -> None:
    short = trained(tmp_path, tiny, "short")
    ended = box("runs", "extend", str(short), "max_steps=8", "--plain", cwd=tmp_path)
    extended = tmp_path / "short-extended"
    config: Any = settled_in(extended).config
    rates = [event["learning_rate"] for event in steps(extended)]
    assert rates == pytest.approx([rate_at(config, 8, step) for step in range(3, 8)])
    assert rates[0] > steps(short)[-1]["learning_rate"]
    printed = " ".join(ended.stderr.split())
    assert (
        "extends short from checkpoint-3, which is copied; short stays as it is; 8 updates"
        in printed
    )
    assert f"continues at update 4 with {rates[0]:.3g}" in printed
    assert f"to {rates[-1]:.3g}; the state of the optimizer is kept" in printed


def test_a_stopped_extension_resumes_in_its_own_folder(tmp_path: Path, tiny: Path) -> None:
    """The checkpoint at which it began has its settings, so nothing seems to have changed."""
    short = trained(tmp_path, tiny, "short", save_total_limit=9)
    box("runs", "extend", str(short), "num_train_epochs=2", "--plain", cwd=tmp_path)
    extended = tmp_path / "short-extended"
    expected = weights(extended)
    shutil.rmtree(extended / "model")
    for name in ("checkpoint-4", "checkpoint-6"):
        shutil.rmtree(extended / "checkpoints" / name)
    run_folder.update_state(extended, status="stopped")
    box("runs", "resume", str(extended), "--plain", cwd=tmp_path)
    result = weights(extended)
    assert all(torch.equal(result[name], expected[name]) for name in expected)


REFUSED = {
    "other data": (["num_train_epochs=2", "max_length=64"], "max_length: an extension cannot"),
    "another model": (["num_train_epochs=2", "lora_rank=4"], "lora_rank: an extension cannot"),
    "no length": (["save_steps=1"], "how long should it train"),
    "fewer updates": (["max_steps=2"], "has trained 3 updates, and this asks for 2 updates"),
    "the same": (["num_train_epochs=1"], "how long should it train"),
}


def test_what_would_change_more_than_the_length_is_refused(tmp_path: Path, tiny: Path) -> None:
    short = trained(tmp_path, tiny, "short")
    for overrides, message in REFUSED.values():
        ended = box("runs", "extend", str(short), *overrides, cwd=tmp_path, code=2)
        assert message in ended.stderr
    assert not (tmp_path / "short-extended").exists()
    never_saved = trained(tmp_path, tiny, "unsaved", save_steps=0)
    ended = box("runs", "extend", str(never_saved), "num_train_epochs=2", cwd=tmp_path, code=2)
    assert "unsaved has no complete checkpoint" in ended.stderr


@pytest.mark.parametrize(
    "counts",
    [
        (12, 2, 2, 1, 1.0),
        (13, 2, 2, 1, 2.0),
        (13, 1, 4, 2, 1.5),
        (9, 1, 4, 2, 1.0),
        (5, 4, 8, 1, 3.0),
    ],
)
def test_updates_are_counted_as_the_trainer_counts_them(
    counts: tuple[int, int, int, int, float],
) -> None:
    rows, batch, passes, devices, epochs = counts
    overrides = [
        "model=m",
        "dataset=d",
        f"per_device_train_batch_size={batch}",
        f"gradient_accumulation_steps={passes}",
        f"num_devices={devices}",
        f"num_train_epochs={epochs}",
    ]
    config: Any = loads("", source="", overrides=overrides).config
    shape = UpdateShape(batch * passes, 0, devices)
    functions: Any = (None, None)
    data: Any = range(rows)
    loader = TrainingLoader(data, EpochSampler(rows, 0), shape, batch, functions)
    per_epoch = -(-len(loader) // passes)
    assert loader.updates == per_epoch
    assert updates_of(config, rows) == -(-epochs * per_epoch // 1)


@pytest.mark.parametrize(("rows", "epochs", "updates"), [(8, 1.0, 4), (9, 2.0, 8), (9, 1.5, 6)])
def test_updates_with_several_answers_count_complete_groups_of_prompts(
    rows: int, epochs: float, updates: int
) -> None:
    overrides = ["model=m", "dataset=d", "stage=grpo", "reward_funcs=length", "num_generations=4"]
    overrides += ["per_device_train_batch_size=4", "gradient_accumulation_steps=2"]
    overrides.append(f"num_train_epochs={epochs}")
    config: Any = loads("", source="", overrides=overrides).config
    assert updates_of(config, rows) == updates
