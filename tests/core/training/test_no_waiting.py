"""Between two logs, a training step neither reads from the device nor copies numbers to it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from tiny import write_chats, write_config, write_labels, write_pairs, write_texts
from torch.utils._python_dispatch import TorchDispatchMode

from swiftbox.core.training.trainer import SwiftTrainer
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

READS = {
    "_local_scalar_dense",  # item(), tolist(), int(), bool() and a condition
    "bincount",
    "equal",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique2",
    "unique_consecutive",
}
"""Operations whose result or size the CPU must know; on a device all of them wait for it."""

WRITES = {"lift_fresh"}
"""torch.tensor(number): on a device it copies memory that is not pinned, which also waits."""

LOGGING = {"_maybe_log_save_evaluate", "require_finite"}
"""Functions that read what was kept on the device, at a log and before anything is saved."""

ON_THE_CPU = ("torch/optim/", "lr_scheduler.py")
"""Optimizers keep their number of steps on the CPU, so reading it waits for nothing."""

MASKS = "transformers/masking_utils.py"
"""transformers looks whether rows are joined, at each forward pass that needs a mask."""


class Waits(TorchDispatchMode):
    """Keeps the places that read from the device, by the functions they are called from."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[list[traceback.FrameSummary]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), keys: Any = None
    ) -> Any:
        name = operation.overloadpacket.__name__
        is_mask_index = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in arguments[1]
        )
        if name in READS | WRITES or is_mask_index:
            self.places.append(traceback.extract_stack())
        return operation(*arguments, **(keys or {}))


def between_logs(places: list[list[traceback.FrameSummary]]) -> list[str]:
    """Return the innermost line outside torch of each place that is not a log."""
    waiting = [
        [frame for frame in stack[:-1] if "/torch/" not in frame.filename][-1]
        for stack in places
        if not any(frame.name in LOGGING for frame in stack)
        and not any(part in frame.filename for frame in stack for part in (*ON_THE_CPU, MASKS))
    ]
    return [f"{frame.filename}:{frame.lineno} {frame.line}" for frame in waiting]


def readings(places: list[list[traceback.FrameSummary]]) -> int:
    return sum(any(frame.name in LOGGING for frame in stack) for stack in places)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    counting = Waits()
    run_epoch = SwiftTrainer._run_epoch

    def counted(trainer: Any, **state: Any) -> None:
        with counting:
            run_epoch(trainer, **state)

    monkeypatch.setattr(SwiftTrainer, "_run_epoch", counted)
    return counting


WRITERS = {
    "sft": write_chats,
    "pt": write_texts,
    "dpo": write_pairs,
    "orpo": write_pairs,
    "reward": write_pairs,
    "kto": write_labels,
}

FORMS = {
    "LoRA on joined rows": {"tuner_type": "lora", "padding_free": "true"},
    "full tuning on padded rows": {"tuner_type": "full", "padding_free": "false"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stage", WRITERS)
def test_no_step_between_logs_waits_for_the_device(
    stage: str, form: str, tmp_path: Path, tiny: Path, waits: Waits
) -> None:
    data = WRITERS[stage](tmp_path / ("rows.txt" if stage == "pt" else "rows.jsonl"), 12)
    steps = {"max_steps": 2, "logging_steps": 100, "save_steps": 0}
    accumulation = {"gradient_accumulation_steps": 2, "neftune_noise_alpha": 5.0}
    path = write_config(
        tmp_path / "a.yaml", tiny, data, stage=stage, **FORMS[form], **steps, **accumulation
    )
    planned = plan(load(path).config, made_up("cpu"))
    TASKS["train"].run(planned.config, tmp_path, lambda *_, **__: None)
    assert between_logs(waits.places) == []
    assert 0 < readings(waits.places) <= 12  # the first step is logged, and the epochs' ends
