"""Between two logs, a training step neither reads from the device nor copies numbers to it."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator
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

COPIES = ("cpu", "numpy", "tolist", "to")
"""Methods that dispatch nothing where the tensor is on the CPU already, as in this test."""

ON_THE_CPU = ("torch/optim/", "lr_scheduler.py", "core/data/rows.py")
"""The sampler draws an order on the CPU, and optimizers keep their number of steps there."""

MASKS = "transformers/masking_utils.py"
"""transformers looks once per forward pass whether sdpa needs a mask. A ready-made one would be
that of one kind of layer only, and would cost single rows the causal kernel."""

ELSEWHERE = {"_collated", "_on_device", "row_by_row"}
"""Make a batch on the CPU, move it to the device, which is the CPU here, and stand for a kernel."""


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


def between_logs(places: list[list[traceback.FrameSummary]], *allowed: str) -> list[str]:
    """Return the innermost line outside torch of each place that is not a log."""
    waiting = [
        [frame for frame in stack[:-1] if "/torch/" not in frame.filename][-1]
        for stack in places
        if not any(frame.name in LOGGING | ELSEWHERE for frame in stack)
        and not any(part in frame.filename for frame in stack for part in (*ON_THE_CPU, *allowed))
    ]
    return [f"{frame.filename}:{frame.lineno} {frame.line}" for frame in waiting]


def readings(places: list[list[traceback.FrameSummary]]) -> int:
    return sum(any(frame.name in LOGGING for frame in stack) for stack in places)


def names_the_cpu(arguments: tuple[Any, ...], keys: dict[str, Any]) -> bool:
    """Whether the arguments of Tensor.to name the CPU, and not the device of another tensor."""
    return any(isinstance(value, str) and value == "cpu" for value in (*arguments, *keys.values()))


@contextlib.contextmanager
def copies_counted(counting: Waits) -> Iterator[None]:
    """Count also the copies to the CPU of this thread; the collator has another one."""
    thread = threading.get_ident()

    def counted(name: str, method: Any) -> Any:
        def call(tensor: Any, *arguments: Any, **keys: Any) -> Any:
            is_copy = name != "to" or names_the_cpu(arguments, keys)
            if is_copy and threading.get_ident() == thread:
                counting.places.append(traceback.extract_stack())
            return method(tensor, *arguments, **keys)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in COPIES:
            patch.setattr(torch.Tensor, name, counted(name, getattr(torch.Tensor, name)))
        yield


@pytest.mark.parametrize(
    "read",
    [
        torch.Tensor.item,
        bool,
        int,
        float,
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor.cpu(),
        lambda tensor: tensor.numpy(),
        lambda tensor: tensor.to("cpu"),
        lambda tensor: tensor.to(device="cpu"),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor[tensor > 0],
    ],
)
def test_every_way_to_read_is_counted(read: Any) -> None:
    counting, tensor = Waits(), torch.ones(())
    with counting, copies_counted(counting):
        read(tensor)
    assert between_logs(counting.places)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    counting = Waits()
    run_epoch = SwiftTrainer._run_epoch

    def counted(trainer: Any, **state: Any) -> None:
        with counting, copies_counted(counting):
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
    allowed = (MASKS,) if FORMS[form]["padding_free"] == "false" else ()
    assert between_logs(waits.places, *allowed) == []
    assert 0 < readings(waits.places) <= 12  # the first step is logged, and the epochs' ends
