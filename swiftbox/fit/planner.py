"""Choose among candidates: predict memory and time of each, take the fastest that fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.devices.machine import Machine
from swiftbox.fit.candidates import OFFLOAD, OPTIMIZER, PlanCandidate
from swiftbox.fit.learned import LearnedLimits
from swiftbox.fit.micro_batch import typical_micro_batch
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.row_sizes import RowSizes, row_sizes
from swiftbox.fit.step_time import DeviceModel, UpdateWork, device_model, update_seconds
from swiftbox.fit.training import recipe_of, tuning_kind
from swiftbox.fit.verdict import MemoryFit, memory_fit
from swiftbox.fit.workload import Workload

SAME_TIME = 1.03
"""Times within this factor count as equal: then the setting that needs less memory is taken."""


@dataclass(frozen=True)
class Prediction:
    """A candidate, and whether the bytes that it needs are there.

    The seconds of an update compare candidates; only their ratios mean something.
    """

    candidate: PlanCandidate
    seconds: float
    fit: MemoryFit

    @property
    def fits(self) -> bool:
        """Tell whether device and main memory have what it needs, with a reserve."""
        return self.fit.outcome == "fits"

    @property
    def rank(self) -> tuple[Any, ...]:
        """Return what candidates that fit are ordered by."""
        step = math.floor(math.log(self.seconds) / math.log(SAME_TIME))
        return (self.candidate.tier, step, self.fit.need_bytes, self.candidate.batch)


@dataclass(frozen=True)
class Decision:
    """The chosen setting among all predictions."""

    best: Prediction
    predictions: tuple[Prediction, ...]
    sizes: RowSizes
    learned: LearnedLimits

    @cached_property
    def runner_up(self) -> Prediction | None:
        """Return the next best setting that fits; None if no other one does."""
        others = [other for other in self.predictions if other.fits and other is not self.best]
        return min(others, key=lambda other: other.rank, default=None)

    @cached_property
    def short_of_host(self) -> Prediction | None:
        """Return the setting that only main memory is too small for; None if there is none."""
        others = [item for item in self.predictions if item.fit.lacks_main_memory]
        return min(others, key=lambda other: other.fit.waiting.need_bytes, default=None)

    def alternative(self, key: str) -> Prediction | None:
        """Return the best prediction with another value of a key, those that fit first."""
        value, is_tier = self.best.candidate.settings[key], key in (OPTIMIZER, OFFLOAD)
        others = [
            item
            for item in self.predictions
            if item.candidate.settings[key] != value
            and (is_tier or item.candidate.tier == self.best.candidate.tier)
        ]
        fitting = [item for item in others if item.fits]
        if fitting:
            return min(fitting, key=lambda other: other.rank)
        return min(others, key=lambda other: other.fit.need_bytes, default=None)


@dataclass(frozen=True)
class _Setting:
    """What is the same for all candidates."""

    config: TrainConfig
    machine: Machine
    profile: ModelProfile
    sizes: RowSizes
    learned: LearnedLimits
    device: DeviceModel

    def predict(self, candidate: PlanCandidate) -> Prediction:
        """Predict memory and time of a candidate."""
        config = self.config.model_copy(update=candidate.settings)
        recipe = recipe_of(config, self.profile, self.sizes, backend=self.machine.backend)
        shape, processes = self.profile.shape, max(1, config.num_devices or 1)
        fit = memory_fit(shape, recipe, self.machine, processes, self.learned)
        work = UpdateWork(
            candidate.passes,
            compares=recomputes_reference(config),
            trained=recipe.trained,
            is_full=not recipe.is_adapter,
        )
        batch = typical_micro_batch(config, self.sizes)
        seconds = update_seconds(shape, recipe, batch, work, self.device)
        return Prediction(candidate, seconds, fit)


def decide(
    config: TrainConfig,
    machine: Machine,
    workload: Workload,
    offered: Sequence[PlanCandidate],
) -> Decision | None:
    """Return the fastest candidate that fits; the smallest if none fits, None without a model."""
    if workload.model is None or not offered:
        return None
    sizes = row_sizes(config, workload.lengths)
    setting = _Setting(
        config,
        machine,
        workload.model,
        sizes,
        workload.learned,
        device_model(machine, workload.model.shape.hidden, tuning_kind(config)),
    )
    predictions: list[Prediction] = []
    for tier in sorted({candidate.tier for candidate in offered}):
        predictions += [setting.predict(item) for item in offered if item.tier == tier]
        if any(item.fits for item in predictions):
            break  # later tiers only save memory
    return Decision(chosen(predictions), tuple(predictions), sizes, workload.learned)


def chosen(predictions: Sequence[Prediction]) -> Prediction:
    """Return the fastest prediction that fits; if none does, the smallest of the first tier."""
    fitting = [item for item in predictions if item.fits]
    if fitting:
        return min(fitting, key=lambda item: item.rank)
    return min(
        predictions, key=lambda item: (item.candidate.tier, item.fit.need_bytes, item.seconds)
    )


def recomputes_reference(config: TrainConfig) -> bool:
    """Tell whether each micro-batch passes through a reference policy as well."""
    values: Mapping[str, Any] = vars(config)
    return config.compares_with_reference and values.get("precompute_ref_log_probs") != "true"
