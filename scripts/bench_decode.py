"""Tokens per second of the builtin engine's two ways to decode, without HTTP and processes.

The growing cache is what a CPU uses; slots with replayed steps are what a device with graphs uses.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_models import make_model
from served_models import NEW_TOKENS, prompts

CLIENTS = (1, 8, 32)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--device", default="cpu", help="the device in torch (default cpu)")
    parser.add_argument("--dtype", default="float32", help="number type (default float32)")


def run(options: argparse.Namespace) -> int:
    """Print the median rates of both ways, measured in turns."""
    print(f"{'':12}{'growing':>16}{'slots':>16}{'ratio':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        model = make_model(Path(temporary) / "model")
        network = load(model, options.device, options.dtype)
        for clients in CLIENTS:
            rates = decode_rates(network, clients, runs=options.runs)
            growing, slots = rates["growing"], rates["slots"]
            print(
                f"{clients} at once".ljust(12)
                + f"{growing:>10.1f} tok/s{slots:>10.1f} tok/s{slots / growing:>8.2f}x",
                flush=True,
            )
    return 0


def load(model: Path, device: str, dtype: str) -> Any:
    """Load a model as the builtin server does."""
    from swiftbox.core.generation.network import LoadSettings, Network

    return Network(LoadSettings(model, dtype, device))


def decode_rates(
    network: Any, clients: int, *, runs: int = 3, new_tokens: int = NEW_TOKENS
) -> dict[str, float]:
    """Return the median tokens per second with a growing cache, and with slots.

    Steps are replayed on a device that can capture them. The first run of each side is dropped: it
    captures. Raises RuntimeError if slots are not exact for the model.
    """
    from swiftbox.core.generation.decode_paths import DecodePath, try_slots
    from swiftbox.core.generation.requests import SchedulerLimits
    from swiftbox.core.generation.scheduler import Scheduler
    from swiftbox.core.generation.step_graphs import StepGraphs

    reasons: list[str] = []
    graphs = StepGraphs.of(network.model.device, reasons.append)
    slots = try_slots(network, graphs, reasons.append)
    if not slots.is_static:
        raise RuntimeError(reasons[-1])
    limits = SchedulerLimits(rows=max(CLIENTS), queue=99, length=1024, cells=64 * 1024)
    schedulers = {
        "growing": Scheduler(network, limits, DecodePath()),
        "slots": Scheduler(network, limits, slots),
    }
    rates: dict[str, list[float]] = {name: [] for name in schedulers}
    for scheduler in schedulers.values():
        scheduler.start()
    for turn in range(runs + 1):
        for name, scheduler in schedulers.items():
            rates[name].append(_rate(scheduler, prompts(turn, clients), new_tokens))
    for scheduler in schedulers.values():
        scheduler.close(0)
    return {name: statistics.median(values[1:]) for name, values in rates.items()}


def _rate(scheduler: Any, batch: Sequence[list[int]], new_tokens: int) -> float:
    from swiftbox.core.generation.requests import Request
    from swiftbox.core.generation.sampling import Sampling

    greedy = Sampling(max_tokens=new_tokens, temperature=0.0)
    began = time.perf_counter()
    answers: list[queue.Queue[Any]] = [queue.Queue() for _ in batch]
    for prompt, answer in zip(batch, answers, strict=True):
        scheduler.submit(Request(prompt, [greedy], "", answer.put))
    for answer in answers:
        while not (delta := answer.get()).finish:
            pass
        if delta.finish != "length":
            raise RuntimeError(f"{delta.finish}: {scheduler.counters.last_error}")
    return len(batch) * new_tokens / (time.perf_counter() - began)
