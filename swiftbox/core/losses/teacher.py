"""The teacher of a distillation: a frozen model whose distributions the student learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.core.losses.divergence import HeadInputs
from swiftbox.core.losses.log_prob_reader import LogProbReader


@dataclass(frozen=True)
class Teacher:
    """A frozen network in evaluation mode, and how its logits are read."""

    network: Any
    reader: LogProbReader

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def head_inputs(self, inputs: Mapping[str, Any], indices: torch.Tensor) -> HeadInputs:
        """Return what the teacher predicts the next tokens with, at the indices."""
        return self.reader.head_inputs(self.network, inputs, indices)
