"""What runs on this machine needed, compared with their estimate: remembered for later plans.

`record` writes the estimate into the run folder; the child compares it with its peak, or with the
batch that ran out of memory, and remembers the outcome in one small file per kind of training
below the cache folder. The file only makes plans better: one that cannot be read is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.files import write_json
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits
from swiftbox.language import cache_home
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.runs.folder import ESTIMATE
from swiftbox.runs.plain_files import read_record
from swiftbox.security.regular import read_regular

if TYPE_CHECKING:  # the child estimates nothing
    from swiftbox.config.train import TrainConfig
    from swiftbox.devices.machine import Machine
    from swiftbox.fit.memory import Memory
    from swiftbox.fit.shape import ModelShape

MOST_BYTES = 2**16
"""A remembered file has some hundred bytes."""

DIGEST = re.compile("[0-9a-f]{32}")
"""What names a file; a run folder of another origin may hold anything."""

FAILED, RATIO = "failed_bytes", "peak_ratio"

LEAST_RATIO, MOST_RATIO = 0.05, 20.0
"""A ratio outside this range was not measured on this training."""


def learned_limits(config: TrainConfig, shape: ModelShape, machine: Machine) -> LearnedLimits:
    """Return what earlier runs of such a training on such a device showed."""
    path = _file(kind_of_training(config, shape, machine))
    if not path.exists():
        return NOTHING_LEARNED
    try:
        content = json.loads(read_regular(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return LearnedLimits(ignored=1)
    if not isinstance(content, dict):
        return LearnedLimits(ignored=1)
    failed, ratio = _positive(content, FAILED), _positive(content, RATIO)
    if ratio is not None and not LEAST_RATIO <= ratio <= MOST_RATIO:
        ratio = None
    unusable = len(content) - (failed is not None) - (ratio is not None)
    return LearnedLimits(failed, ratio, unusable)


def remember_memory(
    kind: str, *, failed_bytes: float | None = None, peak_ratio: float | None = None
) -> None:
    """Remember an estimate that ran out of memory, or a peak relative to its estimate.

    Of several estimates that failed the smallest counts; of several peaks the last.
    """
    path = _file(kind)
    content: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, RecursionError):
        earlier = json.loads(read_regular(path, MOST_BYTES))
        content = earlier if isinstance(earlier, dict) else {}
    if failed_bytes is not None:
        content[FAILED] = min(failed_bytes, _positive(content, FAILED) or failed_bytes)
    if peak_ratio is not None:
        content[RATIO] = peak_ratio
    with contextlib.suppress(OSError):  # the next plan only knows less
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)


def kind_of_training(config: TrainConfig, shape: ModelShape, machine: Machine) -> str:
    """Return a name for trainings whose memory is estimated alike: device, model and recipe."""
    device = machine.devices[0] if machine.devices else None
    parts = [
        machine.backend,
        device.name if device else "",
        round((device.memory_bytes if device else machine.memory_bytes) / 2**30),
        [shape.hidden, shape.layers, shape.intermediate, shape.vocab, round(shape.params)],
        [config.model_dump()["stage"], config.tuner_type, config.quant_bits, config.dtype],
        [config.distributed, config.num_devices, config.max_length],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def estimate_record(
    config: TrainConfig, shape: ModelShape, machine: Machine, memory: Memory
) -> dict[str, Any]:
    """Return what the child of a training needs to compare its memory with the estimate."""
    return {
        "kind": kind_of_training(config, shape, machine),
        "rows": config.micro_batch,
        "standing": round(memory.standing + memory.framework),
        "need": round(memory.peak),
        "allocated": round(memory.allocated),
        "has_device": bool(machine.devices),
    }


def _file(kind: str) -> Path:
    return cache_home() / "memory" / f"{kind}.json"


def _positive(content: Mapping[str, Any], key: str) -> float | None:
    value = content.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < 2**60 else None


class MemoryObserver:
    """Passes events on; remembers the batch that ran out of memory, and the peak of a whole run."""

    def __init__(self, emit: Emit, folder: Path) -> None:
        self.emit = emit
        self.estimate = read_record(folder / ESTIMATE)
        kind = self.estimate.get("kind")
        self.kind = kind if isinstance(kind, str) and DIGEST.fullmatch(kind) else ""
        self.peak_bytes = 0.0
        self.is_changed = False
        """Whether the run continued with other micro-batches than the estimate's."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Record the event, and learn from it."""
        self.emit(event, **fields)
        if event == events.STEP:
            self.peak_bytes = float(fields.get("memory_bytes") or 0)
        elif event == events.SMALLER_BATCH:
            self.is_changed = True
            self._remember_failure(fields)
        elif event == events.DONE:
            self._remember_peak()

    def _remember_failure(self, fields: Mapping[str, Any]) -> None:
        """Scale the part of the estimate that grows with the rows to those that failed."""
        standing, needed = (_positive(self.estimate, key) for key in ("standing", "need"))
        rows, failed = _positive(self.estimate, "rows"), _positive(fields, "units_before")
        if standing and needed and rows and failed and self.kind:
            predicted = standing + (needed - standing) * min(1.0, failed / rows)
            remember_memory(self.kind, failed_bytes=predicted)

    def _remember_peak(self) -> None:
        """Compare the peak of tensors with the estimated one; only devices tell it."""
        allocated = _positive(self.estimate, "allocated")
        has_device = self.estimate.get("has_device") is True
        if not self.peak_bytes or not allocated or not has_device or self.is_changed:
            return
        if self.kind:
            remember_memory(self.kind, peak_ratio=round(self.peak_bytes / allocated, 4))
