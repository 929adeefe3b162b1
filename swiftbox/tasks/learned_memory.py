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
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox import __version__
from swiftbox.files import write_json
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits, NeedOfFree
from swiftbox.language import cache_home
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.runs.folder import ESTIMATE, SPLIT
from swiftbox.runs.plain_files import read_record
from swiftbox.security.regular import read_regular

if TYPE_CHECKING:  # the child estimates nothing
    from swiftbox.config.train import TrainConfig
    from swiftbox.devices.machine import Machine
    from swiftbox.fit.shape import ModelShape
    from swiftbox.fit.verdict import FitVerdict

MOST_BYTES = 2**16
"""A remembered file has some hundred bytes."""

DIGEST = re.compile("[0-9a-f]{32}")
"""What names a file; a run folder of another origin may hold anything."""

FAILED, PEAK = "failed", "peak"
"""The two records of a file, each with its time and the versions it was measured with."""

LEAST_RATIO, MOST_RATIO = 0.05, 20.0
"""A ratio outside this range was not measured on this training."""

MOST_VERSIONS = 200
"""Characters of the versions that a run folder names."""

MOST_SECONDS = 180 * 86400
"""An older record is not used: drivers and the other users of a device change."""


@dataclass(frozen=True)
class Measured:
    """What a run says of itself when it is remembered: its kind, and its versions."""

    kind: str
    versions: str


def learned_limits(config: TrainConfig, shape: ModelShape, machine: Machine) -> LearnedLimits:
    """Return what earlier runs of such a training on such a device showed."""
    path = _file(kind_of_training(config, shape, machine))
    if not path.exists():
        return NOTHING_LEARNED
    content = _read(path)
    if content is None:
        return LearnedLimits(ignored=1)
    versions = versions_of(machine)
    failed = _failed_estimate(_usable(content, FAILED, versions))
    ratio = _positive(_usable(content, PEAK, versions), "ratio")
    if ratio is not None and not LEAST_RATIO <= ratio <= MOST_RATIO:
        ratio = None
    unusable = len(content) - (failed is not None) - (ratio is not None)
    return LearnedLimits(failed, ratio, unusable)


def remember_failure(run: Measured, failed: NeedOfFree) -> None:
    """Remember an estimate that ran out of memory; of several the smallest share counts."""
    content = _read(_file(run.kind)) or {}
    earlier = _failed_estimate(_usable(content, FAILED, run.versions))
    if earlier is None or failed.share < earlier.share:
        values = {"need_bytes": failed.need_bytes, "have_bytes": failed.have_bytes}
        _write(run, {**content, FAILED: _stamped(values, run.versions)})


def remember_success(run: Measured, succeeded: NeedOfFree | None, ratio: float | None) -> None:
    """Remember the last peak, and forget failures with no larger share than what succeeded."""
    content = _read(_file(run.kind)) or {}
    earlier = _failed_estimate(_record(content, FAILED))
    if earlier is not None and succeeded is not None and earlier.share <= succeeded.share:
        del content[FAILED]
    elif ratio is None:
        return
    if ratio is not None:
        content[PEAK] = _stamped({"ratio": ratio}, run.versions)
    _write(run, content)


def versions_of(machine: Machine) -> str:
    """Return the versions that decide how much memory a training needs."""
    return f"swiftbox {__version__}, torch {machine.versions.get('torch', '')}"


def _stamped(values: dict[str, Any], versions: str) -> dict[str, Any]:
    return {**values, "time": round(time.time()), "versions": versions}


def _usable(content: Mapping[str, Any], name: str, versions: str) -> Mapping[str, Any]:
    """Return a record unless it is old or of other versions."""
    record = _record(content, name)
    measured = _positive(record, "time") or 0.0
    is_recent = abs(time.time() - measured) <= MOST_SECONDS
    return record if is_recent and record.get("versions") == versions else {}


def _record(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    record = content.get(name)
    return record if isinstance(record, dict) else {}


def _failed_estimate(record: Mapping[str, Any]) -> NeedOfFree | None:
    need, have = _positive(record, "need_bytes"), _positive(record, "have_bytes")
    return NeedOfFree(need, have) if need and have else None


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a file; None if it is absent or holds something else."""
    try:
        content = json.loads(read_regular(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _write(run: Measured, content: dict[str, Any]) -> None:
    path = _file(run.kind)
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
    config: TrainConfig, shape: ModelShape, machine: Machine, verdict: FitVerdict
) -> dict[str, Any]:
    """Return what the child of a training needs to compare its memory with the estimate."""
    memory = verdict.memory
    return {
        "kind": kind_of_training(config, shape, machine),
        "rows": config.micro_batch,
        "standing": round(memory.standing + memory.framework),
        "need": round(memory.peak),
        "allocated": round(memory.allocated),
        "have": round(verdict.have_bytes),
        "versions": versions_of(machine),
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
        is_kind = isinstance(kind, str) and DIGEST.fullmatch(kind)
        versions = str(self.estimate.get("versions"))[:MOST_VERSIONS]
        self.run = Measured(str(kind), versions) if is_kind else None
        self.peak_bytes = 0.0
        split = read_record(folder / SPLIT)
        self.is_changed = split.get("before") == self.estimate.get("rows") != split.get("units")
        """Whether the run trains with other micro-batches than the estimate's."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Record the event, and learn from it."""
        self.emit(event, **fields)
        if event == events.STEP:
            self.peak_bytes = max(self.peak_bytes, float(fields.get("memory_bytes") or 0))
        elif event in (events.SMALLER_BATCH, events.OUT_OF_MEMORY):
            self.is_changed = True
            self._remember_failure(fields)
        elif event == events.DONE and not self.is_changed:
            self._remember_success()

    def _remember_failure(self, fields: Mapping[str, Any]) -> None:
        """Scale the part of the estimate that grows with the rows to those that failed."""
        standing, estimated = _positive(self.estimate, "standing"), self._estimated()
        rows, failed = _positive(self.estimate, "rows"), _positive(fields, "units_before")
        if standing and estimated and rows and failed and self.run:
            rest = estimated.need_bytes - standing
            predicted = standing + rest * min(1.0, failed / rows)
            remember_failure(self.run, NeedOfFree(predicted, estimated.have_bytes))

    def _remember_success(self) -> None:
        """Compare the peak of tensors with the estimated one, which only devices tell."""
        allocated, ratio = _positive(self.estimate, "allocated"), None
        if self.peak_bytes and allocated and self.estimate.get("has_device") is True:
            ratio = round(self.peak_bytes / allocated, 4)
        if self.run:
            remember_success(self.run, self._estimated(), ratio)

    def _estimated(self) -> NeedOfFree | None:
        need, have = _positive(self.estimate, "need"), _positive(self.estimate, "have")
        return NeedOfFree(need, have) if need and have else None
