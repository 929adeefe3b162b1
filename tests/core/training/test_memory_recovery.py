"""A step that runs out of memory is repeated in smaller micro-batches and gives the same losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_up import made_up
from recorded_training import Recorded, of_kind
from safetensors.torch import load_file
from tiny import write_chats, write_config, write_labels

from swiftbox.core.training import memory_recovery
from swiftbox.core.training.atomic_checkpoints import RunRecorder
from swiftbox.core.training.memory_recovery import SplitLimits, remembered_split, smaller_split
from swiftbox.core.training.split_changes import SplitChanges
from swiftbox.core.training.stop_votes import StopVotes
from swiftbox.core.training.trainer import SwiftTrainer
from swiftbox.errors import MemoryLimitError, RunError
from swiftbox.plan import plan
from swiftbox.runs.diagnosis import OUT_OF_MEMORY, diagnose, kind_of
from swiftbox.runs.stop import STOP
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 8
"""Rows of an update in all these tests."""


def train(folder: Path, model: Path, recorded: Recorded | None = None, **keys: object) -> Recorded:
    """Train, and return the events; a run that fails leaves them in `recorded`."""
    recorded = [] if recorded is None else recorded
    folder.mkdir(exist_ok=True)
    write = write_labels if keys.get("stage") == "kto" else write_chats
    data = write(folder / "rows.jsonl", 20)
    defaults = {"max_steps": 3, "save_steps": 0, "logging_steps": 1}
    path = write_config(folder / "a.yaml", model, data, **{**defaults, **keys})
    (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
    TASKS["train"].run(
        plan(load(path).config, made_up("cpu")).config,
        folder,
        lambda event, **fields: recorded.append((event, fields)),
    )
    return recorded


def losses(recorded: Recorded) -> list[tuple[float, float]]:
    return [(step["loss"], step["grad_norm"]) for step in of_kind(recorded, "step")]


def split(units: int) -> dict[str, object]:
    return {"per_device_train_batch_size": units, "gradient_accumulation_steps": ROWS // units}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "adapter_model.safetensors")


@pytest.fixture
def limit_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set how many rows of a batch fit the memory, and where the allocation fails."""

    def limit(rows: int, error: Exception | None = None, *, in_backward: bool = False) -> None:
        failure = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        create = SwiftTrainer.__init__

        def limited(trainer: Any, setup: Any, **arguments: Any) -> None:
            create(trainer, setup, **arguments)
            compute = trainer.setup.loss

            def loss(model: Any, batch: dict[str, Any]) -> Any:
                result = compute(model, batch)
                is_too_large = rows_of(batch) > rows
                if is_too_large and in_backward and result.total.requires_grad:
                    result.total.register_hook(fail)
                elif is_too_large:
                    raise failure
                return result

            object.__setattr__(trainer.setup, "loss", loss)

        def fail(_gradient: torch.Tensor) -> None:
            raise failure

        monkeypatch.setattr(SwiftTrainer, "__init__", limited)

    return limit


def rows_of(batch: dict[str, Any]) -> int:
    """Count the rows of a batch in either layout."""
    if "label" in batch:
        return len(batch["label"])
    if "attention_mask" in batch:
        return len(batch["attention_mask"])
    ends = batch["labels"].flatten()[batch["indices"] + 1]  # every row has one end of turn
    return int((ends == ends[-1]).sum())


PADDED = {"padding_free": "false"}


@pytest.mark.parametrize("in_backward", [False, True])
def test_a_step_that_does_not_fit_gives_the_losses_of_the_smaller_batch(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None], in_backward: bool
) -> None:
    smaller = train(tmp_path / "smaller", tiny, **split(2), **PADDED)
    limit_rows(2, in_backward=in_backward)
    recovered = train(tmp_path / "recovered", tiny, **split(8), **PADDED)
    assert losses(recovered) == losses(smaller)
    first, second = weights(tmp_path / "smaller"), weights(tmp_path / "recovered")
    assert all(torch.equal(first[name], second[name]) for name in first)
    events = of_kind(recovered, "smaller_batch")
    assert [(event["units_before"], event["units"]) for event in events] == [(8, 4), (4, 2)]
    assert [(event["step"], event["accumulation"]) for event in events] == [(1, 2), (1, 4)]


@pytest.mark.parametrize("noise", [{"lora_dropout": 0.3}, {"neftune_noise_alpha": 5}])
def test_a_repeated_step_draws_the_random_numbers_of_a_first_one(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None], noise: dict[str, float]
) -> None:
    smaller = train(tmp_path / "smaller", tiny, **split(4), **PADDED, **noise)
    limit_rows(4)
    recovered = train(tmp_path / "recovered", tiny, **split(8), **PADDED, **noise)
    assert len(of_kind(recovered, "smaller_batch")) == 1
    assert losses(recovered) == losses(smaller)


def test_the_random_numbers_of_a_device_are_drawn_again_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A generator of the CPU stands for that of the device, which keeps its state in the host."""
    generator = torch.Generator()
    module = SimpleNamespace(get_rng_state=generator.get_state, set_rng_state=generator.set_state)
    monkeypatch.setattr(memory_recovery, "_device_module", lambda: module)
    states = memory_recovery.RandomStates.now()
    drawn = [torch.rand(3), torch.rand(3, generator=generator)]
    states.restore()
    again = [torch.rand(3), torch.rand(3, generator=generator)]
    assert all(torch.equal(*pair) for pair in zip(drawn, again, strict=True))


def test_the_metrics_and_tokens_of_a_failed_pass_do_not_count(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None]
) -> None:
    smaller = train(tmp_path / "smaller", tiny, stage="kto", **split(4), **PADDED)
    limit_rows(4)
    recovered = train(tmp_path / "recovered", tiny, stage="kto", **split(8), **PADDED)
    assert losses(recovered) == losses(smaller)
    metrics = [[step["metrics"] for step in of_kind(run, "step")] for run in (smaller, recovered)]
    assert metrics[0] == metrics[1]


def test_a_method_that_compares_rows_of_a_batch_keeps_enough_of_them(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None]
) -> None:
    limit_rows(1)
    with pytest.raises(MemoryLimitError, match="a batch of 2"):
        train(tmp_path / "run", tiny, stage="kto", **split(4), **PADDED)


def test_float16_recovers_with_its_gradient_scaler(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scaler of accelerate is for devices; that of the CPU scales in the same way."""
    import accelerate

    class Scaled(accelerate.Accelerator):
        def __init__(self, *arguments: Any, **keys: Any) -> None:
            super().__init__(*arguments, **keys)
            self.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)

    monkeypatch.setattr("transformers.trainer.Accelerator", Scaled)
    smaller = train(tmp_path / "smaller", tiny, **split(4), **PADDED)
    limit_rows(4)
    recovered = train(tmp_path / "recovered", tiny, **split(8), **PADDED)
    assert losses(recovered) == losses(smaller)


def test_a_single_row_that_does_not_fit_says_what_lowers_the_memory(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None]
) -> None:
    limit_rows(0)
    recorded: Recorded = []
    with pytest.raises(MemoryLimitError, match="a batch of 1") as raised:
        train(tmp_path / "run", tiny, recorded, **split(2), **PADDED)
    assert [event["units_before"] for event in of_kind(recorded, "out_of_memory")] == [1]
    kind, hint = diagnose(raised.value)
    assert kind == OUT_OF_MEMORY
    assert "gradient_checkpointing: true" in hint
    assert "per_device_train_batch_size" not in hint


def test_an_optimizer_that_runs_out_of_memory_is_recorded(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_trainer: Any, _model: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SwiftTrainer, "_optimize", fail)
    recorded: Recorded = []
    with pytest.raises(torch.OutOfMemoryError):
        train(tmp_path / "run", tiny, recorded, **split(4), **PADDED)
    (event,) = of_kind(recorded, "out_of_memory")
    assert (event["step"], event["units_before"]) == (1, 4)


def test_another_error_is_not_repeated(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None]
) -> None:
    limit_rows(4, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(tmp_path / "run", tiny, **split(8), **PADDED)


def test_a_resumed_run_keeps_the_smaller_batch(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are collated in a thread here, as they are where there is an accelerator."""
    keys = {**split(8), **PADDED, "save_steps": 2, "lr_scheduler_type": "constant"}
    limit_rows(2)
    monkeypatch.setattr("swiftbox.core.training.loader.has_accelerator", lambda: True)
    train(tmp_path / "run", tiny, **keys, max_steps=2)
    resumed = train(tmp_path / "run", tiny, **keys, max_steps=4)
    assert [step["step"] for step in of_kind(resumed, "step")] == [3, 4]
    assert of_kind(resumed, "smaller_batch") == []
    (note,) = [
        note
        for note in of_kind(resumed, "note")
        if note.get("key") == "per_device_train_batch_size"
    ]
    assert "micro-batches of 2 instead of 8" in note["message"]
    unbroken = train(tmp_path / "unbroken", tiny, **keys, max_steps=4)
    assert losses(resumed) == losses(unbroken)[2:]


def test_an_evaluation_that_does_not_fit_is_split_and_gives_the_same_loss(
    tmp_path: Path, tiny: Path, limit_rows: Callable[..., None]
) -> None:
    keys = {**split(2), **PADDED, "val_size": 9, "eval_steps": 2, "max_steps": 2}
    expected = of_kind(train(tmp_path / "all", tiny, **keys), "eval")
    limit_rows(2)
    (measured,) = of_kind(train(tmp_path / "parts", tiny, **keys), "eval")
    # float32 sums in another order
    assert measured["loss"] == pytest.approx(expected[0]["loss"], rel=1e-5)


def test_a_pass_that_all_processes_compute_together_is_not_repeated(tmp_path: Path) -> None:
    arguments = SimpleNamespace(
        per_device_train_batch_size=8, gradient_accumulation_steps=2, world_size=2
    )
    recorded: Recorded = []
    record = RunRecorder(tmp_path, lambda event, **fields: recorded.append((event, fields)), 1)
    changes = SplitChanges(record, SplitLimits(sharded=True), arguments)

    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryLimitError, match="all processes compute together") as raised:
        changes.repeat_until_it_fits(None, fail, step=0, model=None)  # type: ignore[arg-type]
    assert "per_device_train_batch_size: 4 and gradient_accumulation_steps: 4" in raised.value.hint
    assert diagnose(raised.value)[0] == OUT_OF_MEMORY
    (event,) = of_kind(recorded, "out_of_memory")
    assert (event["step"], event["units_before"]) == (1, 8)


def test_the_last_pass_of_an_update_is_not_repeated_by_one_of_several_processes(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its forward pass torch would average the gradients of the next backward pass."""
    averages: list[bool] = []
    create = SwiftTrainer._accumulate

    def several(trainer: Any, model: Any, updates: Any, terms: Any) -> Any:
        monkeypatch.setattr(type(trainer.args), "world_size", 2)
        compute = trainer.setup.loss

        def loss(*batch: Any) -> Any:
            averages.append(trainer.split.averages_gradients)
            return compute(*batch)

        object.__setattr__(trainer.setup, "loss", loss)
        try:
            return create(trainer, model, updates, terms)
        finally:
            monkeypatch.undo()

    monkeypatch.setattr(SwiftTrainer, "_accumulate", several)
    train(tmp_path / "run", tiny, **split(4), **PADDED, max_steps=1)
    assert averages == [False, True]


def test_every_process_learns_which_split_ran_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker writes the events of the first process alone; each compares its estimate."""
    arguments = SimpleNamespace(
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        world_size=2,
        process_index=1,
    )
    recorded: Recorded = []
    record = RunRecorder(tmp_path, lambda event, **fields: recorded.append((event, fields)), 1)
    changes = SplitChanges(record, SplitLimits(), arguments)
    change = {"step": 1, "units": 4, "units_before": 8}
    monkeypatch.setattr("swiftbox.core.training.split_changes.gathered", lambda *_: [change, None])
    changes.announce()
    assert recorded == [("smaller_batch", change)]
    assert remembered_split(tmp_path, before=8) == 8  # the first process writes it


def test_processes_stop_together_after_the_update_that_gathers_a_vote() -> None:
    alone = SimpleNamespace(device=torch.device("cpu"), gather=lambda votes: votes.repeat(2, 1))
    votes = StopVotes(alone)
    assert int(votes.gathered_with(7)) == 14
    STOP.requested.set()
    try:
        assert not votes.passed()
        votes.gathered_with(7)
        assert votes.passed()
    finally:
        STOP.requested.clear()


def test_a_split_of_another_setting_is_not_remembered(tmp_path: Path) -> None:
    assert remembered_split(tmp_path, before=8) == 8
    memory_recovery.remember_split(tmp_path, 2, before=8)
    assert remembered_split(tmp_path, before=8) == 2
    assert remembered_split(tmp_path, before=4) == 4
    (tmp_path / "micro_batch.json").write_text(json.dumps({"units": "2", "before": 8}), "utf-8")
    assert remembered_split(tmp_path, before=8) == 8


def test_a_smaller_split_divides_the_update() -> None:
    assert smaller_split(16, 8) == 4
    assert smaller_split(15, 5) == 1
    assert smaller_split(12, 6, 2) == 3
    assert smaller_split(12, 3, 2) is None
    assert smaller_split(1, 1) is None


MESSAGES = (
    "CUDA out of memory. Tried to allocate 20.00 MiB",
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "XPU out of memory. Tried to allocate 20.00 MiB",
    "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)",
    "NPU out of memory. Tried to allocate 20.00 MiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "NCCL error: unhandled cuda error. Last error:\nFailed to CUDA calloc 6291456 bytes",
    "ncclUnhandledCudaError: Call to CUDA function failed. Last error: Cuda failure 2 'out of "
    "memory'",
    "HIPBLAS_STATUS_ALLOC_FAILED when calling hipblasCreate(handle)",
    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_backend_is_understood_when_it_is_out_of_memory(message: str) -> None:
    assert kind_of(RuntimeError(message)) == OUT_OF_MEMORY


def test_an_infinite_loss_between_logs_is_reported_with_its_step_and_never_saved(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate = SwiftTrainer._accumulate

    def infinite_at_the_third(trainer: Any, *arguments: Any) -> Any:
        sums = accumulate(trainer, *arguments)
        if trainer.state.global_step == 2:
            sums.loss = sums.loss * float("inf")
        return sums

    monkeypatch.setattr(SwiftTrainer, "_accumulate", infinite_at_the_third)
    keys = {**split(2), "logging_steps": 100, "save_steps": 5, "max_steps": 6}
    with pytest.raises(RunError, match="the loss is inf at step 3"):
        train(tmp_path / "run", tiny, **keys)
    assert not list((tmp_path / "run").rglob("*.safetensors"))
