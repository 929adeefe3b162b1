"""What earlier runs on this machine showed about the memory of a training like this one; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from swiftbox.formatting import counted, size
from swiftbox.language import text

LEAST, MOST = 0.9, 2.0
"""Corrections stay between these: a low peak may only mean that the longest rows did not meet."""


@dataclass(frozen=True)
class NeedOfFree:
    """A predicted need, and the bytes that were free at that time."""

    need_bytes: float
    have_bytes: float

    @property
    def share(self) -> float:
        """Return the need relative to what was free: comparable on a crowded and an empty card."""
        return self.need_bytes / self.have_bytes


@dataclass(frozen=True)
class LearnedLimits:
    """What runs of the same model, tuner and device measured, against what was predicted."""

    failed: NeedOfFree | None = None
    """The predicted need with the smallest share of the free memory that ran out of memory."""
    peak_ratio: float | None = None
    """The measured peak relative to its prediction, of the last run that measured it."""
    ignored: int = 0
    """Records that are unreadable, old, or of other versions."""

    def corrected(self, predicted_bytes: float) -> float:
        """Return a predicted need, corrected by what was measured."""
        if self.peak_ratio is None:
            return predicted_bytes
        return predicted_bytes * min(MOST, max(LEAST, self.peak_ratio))

    def allows(self, predicted_bytes: float, have_bytes: float) -> bool:
        """Tell whether a need is a smaller share of the free memory than one that failed."""
        return self.failed is None or predicted_bytes < self.failed.share * have_bytes

    def lines(self) -> Iterator[str]:
        """Describe what was learned, a sentence each."""
        if self.peak_ratio is not None:
            yield text(
                f"learned from a run here: it needed {self.peak_ratio:.2f} x the estimate",
                f"据本机此前的运行：实际用量为估计的 {self.peak_ratio:.2f} 倍",
            )
        if self.failed is not None:
            limit, free = size(self.failed.need_bytes), size(self.failed.have_bytes)
            yield text(
                f"learned from a run here: a run estimated at {limit} ran out of memory with "
                f"{free} free",
                f"据本机此前的运行：空闲 {free} 时，估计为 {limit} 的设置曾耗尽内存",
            )
        if self.ignored:
            yield text(
                f"{counted(self.ignored, 'record')} of earlier runs not used: unreadable, old, or "
                "of other versions",
                f"未采用 {self.ignored} 条此前运行的记录：无法读取、过旧或版本不同",
            )


NOTHING_LEARNED = LearnedLimits()
