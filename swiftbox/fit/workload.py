"""What a run will work on, as far as it is on this machine: the plan depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swiftbox.data.lengths import Lengths
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits
from swiftbox.fit.profile import ModelProfile


@dataclass(frozen=True)
class Workload:
    """The model and the rows of a training, and what earlier runs showed; of a pipeline, by step.

    None means unknown: the plan then takes what needs the least memory.
    """

    model: ModelProfile | None = None
    lengths: Lengths | None = None
    learned: LearnedLimits = NOTHING_LEARNED
    steps: Mapping[str, Workload] = field(default_factory=dict)


UNKNOWN = Workload()
