"""Agree with all processes on when to stop, without waiting for the device.

The votes travel with the number of terms that every update gathers anyway. Reading the sum at once
would wait for the device, so each process reads the sum of the update before: by then it has been
copied to the CPU. All read the same sum after the same update, and so stop together.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch

from swiftbox.runs.stop import STOP


class StopVotes:
    """The votes of the last two updates."""

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator
        self._cast: deque[tuple[torch.Tensor, Any]] = deque(maxlen=2)

    def gathered_with(self, terms: int) -> torch.Tensor:
        """Return the sum of the terms of all processes, and cast this process's vote.  # ()"""
        device = self.accelerator.device
        local = [
            torch.full((1, 1), number, dtype=torch.int64, device=device)
            for number in (terms, int(STOP.requested.is_set()))
        ]
        sums = self.accelerator.gather(torch.cat(local, dim=1)).sum(0)  # (2,)
        copied = None
        copy = sums[1].to("cpu", non_blocking=True)
        if copy.device != sums.device:
            copied = torch.Event(device=device)
            copied.record()
        self._cast.append((copy, copied))
        return sums[0]

    def passed(self) -> bool:
        """Whether any process voted to stop in the update before this one."""
        if len(self._cast) < 2:
            return False
        votes, copied = self._cast[0]
        if copied is not None:
            copied.synchronize()
        return bool(votes > 0)
