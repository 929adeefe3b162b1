"""The parts of `scripts/bench gpu`, in the order of what they are worth."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpu.figures import Recorder
from gpu.settings import Settings


@dataclass(frozen=True)
class Part:
    """One part: its module and function, the share of the time it may take, what it shows."""

    module: str
    function: str
    limit_s: float
    """On a device, of the default 8 minutes."""
    summary: str

    def measure(self, recorder: Recorder, settings: Settings) -> None:
        """Run the part in this process."""
        measure: Callable[[Recorder, Settings], None]
        measure = getattr(importlib.import_module(f"gpu.{self.module}"), self.function)
        measure(recorder, settings)


PARTS: Mapping[str, Part] = {
    "machine": Part("machine", "measure", 20, "doctor, versions, rate of matrix products"),
    "compare": Part("train", "measure_compared", 220, "ours and TRL in turns; estimate; MFU"),
    "loading": Part("loading", "measure", 45, "8B to the device; time to the first step"),
    "checks": Part("checks", "measure", 40, "head, exactness, waiting, batching"),
    "attention": Part("attention", "measure", 25, "sdpa, varlen, flash, mask; in a model too"),
    "pairs": Part("pairs", "measure", 35, "pairs with a shared prompt in each layout; flex"),
    "serve": Part("serve", "measure", 40, "built-in server against batched generate"),
    "tests": Part("tests", "measure", 45, "the tests marked gpu"),
    "nf4": Part("nf4", "measure", 10, "NF4 kernels against 16-bit products"),
    "verbs": Part("verbs", "measure", 40, "scripts/bench less-work and decode on the device"),
    "keys": Part("train", "measure_keys", 70, "liger, compile, checkpointing, offload"),
    "shapes": Part("train", "measure_ours", 480, "all shapes, tuners and lengths; with time left"),
}

ELSEWHERE: Mapping[int, str] = {
    2: "compare: LoRA; tests/gpu/test_training.py",
    3: "tests/gpu/test_training.py",
    4: "tests/gpu/test_training.py",
    5: "tests/gpu/test_number_types.py",
    16: "shapes: QLoRA, peak and rate",
    18: "tests/devices/test_selection.py, on any machine",
    19: "tests/gpu/test_recovery.py",
    20: "tests/gpu/test_lifecycle.py",
    21: "keys: DPO with precomputed references",
    22: "tests/gpu/test_lifecycle.py",
    24: "tests/gpu/test_lifecycle.py: merge; nf4",
}
"""Device checks that no figure carries by number, and what answers them."""
