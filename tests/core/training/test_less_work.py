"""Trainings with the settings that save memory or time: the same losses, or tested bounds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from safetensors.torch import load_file
from tiny import write_chats, write_config

from swiftbox.plan import plan
from swiftbox.runs import folder as run_folder
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")


class Training:
    """A training of a tiny model in this process, which can be run in the same folder again."""

    def __init__(self, folder: Path, model: Path, **keys: object) -> None:
        folder.mkdir()
        data = write_chats(folder / "chat.jsonl", 24)
        path = write_config(folder / "a.yaml", model, data, **{"save_steps": 0, **keys})
        self.config = plan(load(path).config, made_up("cpu")).config
        self.folder = folder / "run"
        self.folder.mkdir()
        shutil.copyfile(path, self.folder / "settled.yaml")
        self.losses: list[float] = []

    def run(self) -> dict[str, torch.Tensor]:
        """Train; return the saved tensors."""

        def emit(event: str, **fields: Any) -> None:
            if event == "step":
                self.losses.append(fields["loss"])

        saved = TASKS["train"].run(self.config, self.folder, emit)
        return {
            name: tensor
            for file in sorted(saved.glob("*.safetensors"))
            for name, tensor in load_file(file).items()
        }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize(
    ("tuner_type", "padding_free"),
    [("lora", "true"), ("lora", "false"), ("qlora", "true"), ("full", "true")],
)
def test_selective_checkpoints_change_no_bit_of_a_training(
    tuner_type: str, padding_free: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {"tuner_type": tuner_type, "padding_free": padding_free, "max_steps": 2}
    plain = Training(tmp_path / "plain", tiny, gradient_checkpointing="false", **keys)
    selective = Training(tmp_path / "sel", tiny, gradient_checkpointing="selective", **keys)
    assert same(plain.run(), selective.run())
    assert plain.losses == selective.losses


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_8bit"])
def test_weights_in_bfloat16_learn_as_those_in_float32(
    optim: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {"tuner_type": "full", "dtype": "bfloat16", "optim": optim, "max_steps": 12}
    wide = Training(tmp_path / "wide", tiny, **keys)
    narrow = Training(tmp_path / "narrow", tiny, pure_bf16=True, **keys)
    wide.run()
    assert {tensor.dtype for tensor in narrow.run().values()} == {torch.bfloat16}
    assert wide.losses[0] - wide.losses[-1] > 0.2
    # Rounding moves a weight by 2**-9 of it at most, in either direction.
    assert narrow.losses == pytest.approx(wide.losses, abs=0.05)


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_8bit"])
def test_a_training_with_bfloat16_weights_resumes_bit_for_bit(
    optim: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {"tuner_type": "full", "pure_bf16": True, "dtype": "auto", "optim": optim}
    training = Training(tmp_path / "a", tiny, max_steps=4, save_steps=2, **keys)
    straight = training.run()
    shutil.rmtree(training.folder / run_folder.CHECKPOINTS / "checkpoint-4")
    shutil.rmtree(training.folder / run_folder.MODEL)
    assert same(training.run(), straight)
    assert len(training.losses) == 6  # two of the four updates were repeated
