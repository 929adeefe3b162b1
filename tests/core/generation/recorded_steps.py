"""A capture that works on any device: the operations of a step, recorded once with its tensors.

As in a graph of a GPU, everything that Python decides is fixed when the step is recorded, and each
replay reads and writes the same tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from swiftbox.core.generation.decode_paths import DecodePath, try_slots
from swiftbox.core.generation.network import Network
from swiftbox.core.generation.step_graphs import CapturedStep, StepGraphs


class Recorder:
    """Records steps, and counts what it does."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    def __call__(self, step: Callable[[], torch.Tensor]) -> CapturedStep:
        output = step()
        operations = make_fx(step)()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            output.copy_(operations())

        return CapturedStep(replay, output)


def path_with(network: Network, capture: Recorder | None) -> DecodePath:
    """Return the path with slots; fail with the reason if the trial refuses it."""
    reasons: list[str] = []
    path = try_slots(network, StepGraphs(capture, reasons.append), reasons.append)
    assert path.is_static, reasons
    assert reasons == []
    return path
