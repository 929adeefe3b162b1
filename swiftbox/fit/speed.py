"""The speed of training: the floating-point work per token divided by the device's rate.

Letters: N parameters a token passes through. A token costs 6 N with all weights trained, and 4 N
with a frozen base, which gets no gradients of its weights (arXiv:2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swiftbox.devices.accelerators import find_accelerator
from swiftbox.devices.machine import Machine
from swiftbox.fit.shape import ModelShape

UTILIZATION: Mapping[str, float] = {"full": 0.44, "adapter": 0.30, "quantized": 0.25}
"""Share of the rated dense 16-bit throughput that published trainings reach; medians."""

UNCERTAINTY = 2.0
"""The published speeds lie within this factor of the prediction in four of five cases."""

CPU_FLOPS_PER_CORE = 25e9
"""Throughput of a core in float32 matrix products, measured on the test machine."""

CPU_UNCERTAINTY = 4.0


@dataclass(frozen=True)
class Speed:
    """Tokens per second of all devices together, and the uncertainty factor."""

    tokens_per_s: float
    uncertainty: float


def work_per_token(shape: ModelShape, kind: str) -> float:
    """Return FLOP per token; kind is full, adapter or quantized."""
    return (6.0 if kind == "full" else 4.0) * shape.passed


def speed(shape: ModelShape, kind: str, machine: Machine, processes: int) -> Speed | None:
    """Return the speed; None for a device that is not in the table."""
    work = work_per_token(shape, kind)
    if not machine.devices:
        rate = machine.cores * CPU_FLOPS_PER_CORE
        return Speed(rate / work, CPU_UNCERTAINTY)
    device = machine.devices[0]
    row = find_accelerator(device.name, device.memory_bytes)
    if row is None or not row.flops:
        return None
    return Speed(row.flops * UTILIZATION[kind] * processes / work, UNCERTAINTY)
