"""The learning rate of every update in closed form, and the arguments that transformers needs.

`step` counts the updates before the one that the rate is for, from 0; `total` is their number.
transformers computes the rates of a training; a test holds these formulas equal to its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from swiftbox.config.schedule import MEASURED, floor_share
from swiftbox.config.train import TrainConfig

POLYNOMIAL_END = 1e-7
"""Where transformers' polynomial schedule ends if nothing else is set."""

WHOLE_NUMBERS = frozenset(
    "num_stable_steps timescale patience cooldown warmup window_size reset_start".split()
)


@dataclass(frozen=True)
class Curve:
    """What the rate of an update depends on."""

    warmup: int
    total: int
    floor: float
    """Share of the peak."""
    arguments: Mapping[str, Any]
    decay: int = 0
    """Updates of the decay of warmup_stable_decay."""

    def progress(self, step: int) -> float:
        """Return the share of the updates after the warm-up that lie behind."""
        return (step - self.warmup) / max(1, self.total - self.warmup)

    def rise(self, step: int) -> float:
        """Return the share of the peak during the warm-up."""
        return step / max(1, self.warmup)

    def above_floor(self, share: float) -> float:
        """Return a share of the way from the floor to the peak as one of the peak."""
        return share * (1 - self.floor) + self.floor


def updates_of(value: float, total: int) -> int:
    """Return a number of updates that is given as one or as a share, rounded up."""
    return int(value) if value >= 1 else math.ceil(total * value)


def scheduler_arguments(config: TrainConfig, total: int) -> dict[str, Any]:
    """Return the arguments of transformers' schedule besides the warm-up and the total."""
    name = config.lr_scheduler_type
    arguments: dict[str, Any] = dict(config.lr_scheduler_kwargs)
    for key in WHOLE_NUMBERS & arguments.keys():
        arguments[key] = int(arguments[key])
    floor = floor_share(config, config.learning_rate)
    if name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        arguments["min_lr_rate"] = floor
    elif name == "warmup_stable_decay":
        left = total - updates_of(config.warmup_steps, total)
        arguments["num_decay_steps"] = min(updates_of(config.num_decay_steps, total), left)
        arguments["min_lr_ratio"] = floor or 0.0
    elif name == "polynomial" and floor is not None:
        arguments["lr_end"] = floor * config.learning_rate
    elif name in MEASURED:
        arguments["min_lr"] = (floor or 0.0) * config.learning_rate
        arguments.setdefault("mode", "max" if config.prefers_greater else "min")
        if name == "greedy":
            arguments.setdefault("max_lr", config.learning_rate)  # it returns to it at most
    return arguments


def rate_at(config: TrainConfig, total: int, step: int) -> float | None:
    """Return the learning rate after `step` updates; None if it depends on the held-out loss."""
    name = config.lr_scheduler_type
    if name in MEASURED:
        return None
    arguments = scheduler_arguments(config, total)
    floor = floor_share(config, config.learning_rate) or 0.0
    curve = Curve(updates_of(config.warmup_steps, total), total, floor, arguments)
    if name == "warmup_stable_decay":
        curve = replace(curve, decay=arguments["num_decay_steps"])
    elif name == "polynomial" and "lr_end" not in arguments:
        curve = replace(curve, floor=POLYNOMIAL_END / config.learning_rate)
    return config.learning_rate * SHAPES[name](curve, step)


def _constant(_curve: Curve, _step: int) -> float:
    return 1.0


def _constant_with_warmup(curve: Curve, step: int) -> float:
    return curve.rise(step) if step < curve.warmup else 1.0


def _linear(curve: Curve, step: int) -> float:
    return curve.rise(step) if step < curve.warmup else max(0.0, 1 - curve.progress(step))


def _wave(progress: float, cycles: float) -> float:
    return 0.5 * (1 + math.cos(2 * math.pi * cycles * progress))


def _cycles(curve: Curve) -> float:
    return float(curve.arguments.get("num_cycles", 0.5))


def _cosine(curve: Curve, step: int) -> float:
    if step < curve.warmup:
        return curve.rise(step)
    return max(0.0, curve.above_floor(_wave(curve.progress(step), _cycles(curve))))


def _restarts(curve: Curve, step: int) -> float:
    if step < curve.warmup:
        return curve.rise(step)
    progress = curve.progress(step)
    if progress >= 1:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (curve.arguments.get("num_cycles", 1) * progress % 1)))


def _cosine_from_above_zero(curve: Curve, step: int) -> float:
    """Return cosine_warmup_with_min_lr, whose first update has a rate above 0."""
    start = curve.arguments.get("warmup_lr_rate")
    if step < curve.warmup:
        if start is None:
            return (step + 1) / max(1, curve.warmup)
        return float(start + (1 - start) * step / max(1, curve.warmup - 1))
    return max(0.0, curve.above_floor(_wave(curve.progress(step + 1), _cycles(curve))))


def _polynomial(curve: Curve, step: int) -> float:
    if step < curve.warmup:
        return curve.rise(step)
    left = max(0.0, 1 - curve.progress(step))
    return curve.above_floor(left ** curve.arguments.get("power", 1.0))


def _inverse_sqrt(curve: Curve, step: int) -> float:
    if step < curve.warmup:
        return curve.rise(step)
    timescale = curve.arguments.get("timescale") or curve.warmup or 10_000
    return 1 / math.sqrt((step + timescale - curve.warmup) / timescale)


def _warmup_stable_decay(curve: Curve, step: int) -> float:
    arguments = curve.arguments
    stable = int(arguments.get("num_stable_steps", curve.total - curve.warmup - curve.decay))
    if step < curve.warmup:  # the rise is the decay backwards
        kind = arguments.get("warmup_type", "linear")
        return curve.above_floor(_fallen(kind, 1 - curve.rise(step), cycles=0.5))
    after = step - curve.warmup - stable
    if after < 0:
        return 1.0
    if after >= curve.decay:
        return curve.floor
    kind, cycles = arguments.get("decay_type", "cosine"), _cycles(curve)
    return max(0.0, curve.above_floor(_fallen(kind, after / max(1, curve.decay), cycles=cycles)))


def _fallen(kind: str, progress: float, *, cycles: float) -> float:
    """Return what is left of the peak at some progress of a decay."""
    if kind == "linear":
        return 1 - progress
    if kind == "1-sqrt":
        return 1 - math.sqrt(progress)
    return _wave(progress, cycles)


SHAPES: Mapping[str, Callable[[Curve, int], float]] = {
    "constant": _constant,
    "constant_with_warmup": _constant_with_warmup,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_min_lr": _cosine,
    "cosine_with_restarts": _restarts,
    "cosine_warmup_with_min_lr": _cosine_from_above_zero,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _warmup_stable_decay,
}
"""The rate as a share of the peak, by schedule."""
