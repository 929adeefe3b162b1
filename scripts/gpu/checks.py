"""Device checks of the training path: head, exactness, waiting, batching, tails of lines."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpu.figures import Recorder
from gpu.models import random_model
from gpu.settings import Settings
from gpu.steps import Steps
from gpu.timing import free_memory, growth_bytes, milliseconds, synchronize

WAITING = ("_local_scalar_dense", "nonzero", "masked_select")
"""Operators that wait for the device."""


def measure(recorder: Recorder, settings: Settings) -> None:
    """Run every check; a check that fails is recorded and the next one follows."""
    for name, check in CHECKS.items():
        if settings.seconds_left() < 5:
            recorder.record(name, None, note="not run: no time left")
            continue
        try:
            check(recorder, settings)
        except Exception as error:  # noqa: BLE001 - one failed check must not end the others
            note = f"{type(error).__name__}: {str(error)[:200]}"
            raw = {"traceback": traceback.format_exc()[-2000:]}
            recorder.record(name, None, target="<= 0", note=note, raw=raw)
        free_memory(settings.device)


def head(recorder: Recorder, settings: Settings) -> None:
    """Record the loss of the head in float32, TF32 and bfloat16."""
    from swiftbox.core.losses.chunked import log_probs

    tokens, vocabulary, hidden = (64, 640, 64) if settings.tiny else (4096, 151_936, 2560)
    torch.manual_seed(0)
    weight = torch.randn(vocabulary, hidden, device=settings.device) * 0.02
    inputs = torch.randn(tokens, hidden, device=settings.device)
    targets = torch.randint(0, vocabulary, (tokens,), device=settings.device)
    losses: dict[str, float] = {}
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        for trained in (False, True):
            kind = "trained" if trained else "frozen"
            matrix = weight.detach().to(dtype).clone().requires_grad_(trained)
            states = inputs.detach().to(dtype).clone().requires_grad_()

            def step(matrix: torch.Tensor = matrix, states: torch.Tensor = states) -> torch.Tensor:
                matrix.grad = states.grad = None
                loss = -log_probs(states, matrix, targets, uniform=True).mean()
                loss.backward()
                return loss.detach()

            losses[name] = step().item()
            work = milliseconds(step, settings.device)
            recorder.record(f"head of {vocabulary:,}, {name}, {kind}", work, "ms", check=6)
            growth = growth_bytes(step, settings.device) / 2**20
            recorder.record(
                f"head of {vocabulary:,}, {name}, {kind}, memory", growth, "MiB", check=6
            )
        free_memory(settings.device)
    torch.set_float32_matmul_precision("highest")
    difference = abs(losses["bfloat16"] / losses["float32"] - 1)
    recorder.record(
        "head, loss in bfloat16 against float32", difference, target="<= 0.002", check=6
    )


def exactness(recorder: Recorder, settings: Settings) -> None:
    """Record whether the probes find joined rows and shared prompts exact on this device."""
    from swiftbox.core.training.model_checks import isolates_rows, prefix_sharing_is_exact

    model, dtype = random_model("0.6B", settings), getattr(torch, settings.dtype)
    for name, check in (
        ("joined rows are kept apart", isolates_rows),
        ("shared prompts are exact", prefix_sharing_is_exact),
    ):
        recorder.record(name, int(check(model, dtype)), target=">= 1", check=10)


def tails(recorder: Recorder, settings: Settings) -> None:
    """Record rows of nearly one length in lines, whose tails restart, and padded."""
    from swiftbox.core.data.batches import LINES, PADDED

    lengths = (30, 20, 30, 20) if settings.tiny else (1500, 1400, 1450, 1500)
    steps = Steps("0.6B", settings)
    for name, layout in (("lines", LINES), ("padded", PADDED)):
        batch = steps.batch(lengths, layout)
        work = milliseconds(lambda batch=batch: steps.step(batch), settings.device, runs=3)
        recorder.record(f"rows of nearly one length, {name}", work, "ms", check=11)


def batching(recorder: Recorder, settings: Settings) -> None:
    """Record sixteen rows one by one and at once, with and without recomputation."""
    from swiftbox.core.data.batches import ONE_LINE

    lengths = [20] * 4 if settings.tiny else [300] * 16
    for size in ("0.6B",) if settings.tiny else ("0.6B", "4B"):
        for checkpointing in (True, False):
            steps = Steps(size, settings, checkpointing=checkpointing)
            switch_to_varlen(steps)
            singles = [steps.batch([length], ONE_LINE) for length in lengths]
            joined = steps.batch(lengths, ONE_LINE)

            def one_by_one(steps: Steps = steps, singles: Any = singles) -> None:
                for batch in singles:
                    steps.step(batch)

            kind = f"{size}, {'recomputed' if checkpointing else 'kept'}"
            slow = milliseconds(one_by_one, settings.device, runs=2, warm_up=1)
            fast = milliseconds(
                lambda steps=steps, joined=joined: steps.step(joined), settings.device
            )
            recorder.record(
                f"{len(lengths)} rows one by one / at once, {kind}", slow / fast, "x", check=12
            )
            growth = growth_bytes(
                lambda steps=steps, joined=joined: steps.step(joined), settings.device
            )
            recorder.record(
                f"{len(lengths)} rows at once, {kind}, memory", growth / 2**20, "MiB", check=12
            )
            if checkpointing:
                busy_share(recorder, settings, (size, one_by_one))
            free_memory(settings.device)


def switch_to_varlen(steps: Steps) -> None:
    """Use variable-length attention where it can be used."""
    from swiftbox.core.attention.varlen import use_varlen

    use_varlen(steps.model, steps.dtype, torch.device(steps.settings.device))


def busy_share(
    recorder: Recorder, settings: Settings, work: tuple[str, Callable[[], None]]
) -> None:
    """Record the share of the time in which the device computes."""
    if settings.device != "cuda":
        return
    from torch.profiler import ProfilerActivity, profile

    size, run = work
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        began = time.perf_counter()
        run()
        synchronize(settings.device)
        elapsed = time.perf_counter() - began
    busy = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6
    recorder.record(f"device busy, rows one by one, {size}", busy / elapsed, check=14)


class WaitCounter(TorchDispatchMode):
    """Counts operators that copy from the device to the host or wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count an operator and run it."""
        del types
        name = str(operator)
        if any(part in name for part in WAITING):
            self.waits.append(name)
        return operator(*args, **(kwargs or {}))


def waits(recorder: Recorder, settings: Settings) -> None:
    """Record how often a step waits for the device, by dispatch and by CUDA's own report."""
    from swiftbox.core.data.batches import ONE_LINE

    steps = Steps("0.6B", settings)
    switch_to_varlen(steps)
    batch = steps.batch([20, 30] if settings.tiny else [700, 300], ONE_LINE)
    steps.step(batch)
    with WaitCounter() as counter:
        steps.step(batch)
    raw = {"operators": counter.waits}
    recorder.record(
        "waits per step, by operator", len(counter.waits), target="<= 0", check=13, raw=raw
    )
    if settings.device == "cuda":
        with reported_waits() as messages:
            steps.step(batch)
        recorder.record(
            "waits per step, by CUDA",
            len(messages),
            target="<= 0",
            check=13,
            raw={"messages": messages},
        )


@contextmanager
def reported_waits() -> Iterator[list[str]]:
    """Collect CUDA's warnings about operations that wait."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield messages
        finally:
            torch.cuda.set_sync_debug_mode("default")
            messages += [
                str(entry.message)[:200] for entry in caught if "synchroniz" in str(entry.message)
            ]


CHECKS: dict[str, Callable[[Recorder, Settings], None]] = {
    "head": head,
    "exactness": exactness,
    "waits": waits,
    "batching": batching,
    "tails": tails,
}
