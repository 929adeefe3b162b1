"""The memory of a merge: where merged weights are kept, and where its models are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swiftbox.core.weights.compare import ModelOutputs, run_prompts
from swiftbox.core.weights.streamed import ComputePlace, streamed
from swiftbox.core.weights.weight_store import WeightStore


@dataclass(frozen=True)
class MergeMemory:
    """How much of the host's memory a merge may use for weights, and where it computes."""

    folder: Path
    """Takes the weights that do not fit the memory, on the disk of the result."""
    weights_bytes: int
    """For merged float32 weights."""
    place: ComputePlace
    """Where logits are compared; merging itself is on the CPU, to be the same everywhere."""

    def store(self) -> WeightStore:
        """Return a store for the weights of one merge, or of one cast."""
        return WeightStore(self.folder, self.weights_bytes)

    def outputs(self, model: Any, prompts: Sequence[torch.Tensor]) -> ModelOutputs:
        """Run the prompts through a model in float32."""
        with streamed(model, self.place):
            return run_prompts(model, prompts)


def merge_memory(folder: Path, weights_bytes: int) -> MergeMemory:
    """Return a memory of this size for merged weights, and as much for float32 copies."""
    return MergeMemory(
        folder, weights_bytes, ComputePlace(torch.device("cpu"), kept_bytes=weights_bytes)
    )
