"""What earlier runs on this machine showed about the memory of a training like this one; pure."""

from __future__ import annotations

from dataclasses import dataclass

LEAST, MOST = 0.9, 2.0
"""Corrections stay between these: a low peak may only mean that the longest rows did not meet."""


@dataclass(frozen=True)
class LearnedLimits:
    """What runs of the same model, tuner and device measured, against what was predicted."""

    failed_bytes: float | None = None
    """The smallest predicted need that ran out of memory."""
    peak_ratio: float | None = None
    """The measured peak relative to its prediction, of the last run that measured it."""
    ignored: int = 0
    """Records that could not be read."""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was learned."""
        return self.failed_bytes is None and self.peak_ratio is None

    def corrected(self, predicted_bytes: float) -> float:
        """Return a predicted need, corrected by what was measured."""
        if self.peak_ratio is None:
            return predicted_bytes
        return predicted_bytes * min(MOST, max(LEAST, self.peak_ratio))

    def allows(self, predicted_bytes: float) -> bool:
        """Tell whether a setting needs less than one that ran out of memory."""
        return self.failed_bytes is None or predicted_bytes < self.failed_bytes


NOTHING_LEARNED = LearnedLimits()
