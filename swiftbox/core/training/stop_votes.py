"""Agree with all processes on when to stop, without waiting for the device to be idle.

The votes travel with the number of terms that every update gathers at its start. Their sum is read
at the end of the update, when all its work is queued: that waits at most until the device begins
the update, which still leaves it the update to compute. All processes read the same sum, and so
stop together.
"""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.runs.stop import STOP


class StopVotes:
    """The votes of an update."""

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator
        self._votes: torch.Tensor | None = None
        self._copied: Any = None

    def gathered_with(self, terms: int) -> torch.Tensor:
        """Return the sum of the terms of all processes, and cast this process's vote.  # ()"""
        device = self.accelerator.device
        local = [
            torch.full((1, 1), number, dtype=torch.int64, device=device)
            for number in (terms, int(STOP.requested.is_set()))
        ]
        sums = self.accelerator.gather(torch.cat(local, dim=1)).sum(0)  # (2,)
        self._votes = sums[1].to("cpu", non_blocking=True)
        self._copied = None
        if self._votes.device != sums.device:
            self._copied = torch.Event(device=device)
            self._copied.record()
        return sums[0]

    def passed(self) -> bool:
        """Whether any process voted to stop before this update."""
        if self._votes is None:
            return False
        if self._copied is not None:
            self._copied.synchronize()
        return bool(self._votes > 0)
