"""Whether a written adapter is what its factors were: each layer, and a few prompts' logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.extract import ExtractConfig
from swiftbox.core.tuners.extract_messages import outputs_message, wrong_layer, wrong_outputs
from swiftbox.core.tuners.low_rank import (
    DTYPE_ROUNDING,
    ROUNDING,
    RankRule,
    error_share,
    square,
)
from swiftbox.core.tuners.model_changes import ChangedLayer
from swiftbox.core.tuners.written_adapter import adapted_layers
from swiftbox.core.weights.adapters import adapter_shapes, attach_adapter
from swiftbox.core.weights.compare import check_prompts, compare_outputs
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
from swiftbox.core.weights.merge_memory import MergeMemory
from swiftbox.runs import events
from swiftbox.runs.events import Emit

COMPLETE_SHARE = 0.01
"""An adapter that holds every change moves logits by rounding alone, far below this share."""


@dataclass(frozen=True)
class ExtractJob:
    """What is extracted: local folders, and what the adapter says about its base."""

    base_files: BaseFiles
    tuned_files: BaseFiles
    base_name: str
    revision: str | None
    config: ExtractConfig
    memory: MergeMemory
    emit: Emit

    @property
    def dtype(self) -> str:
        """Return the number type of the adapter."""
        return "float32" if self.config.dtype == "auto" else self.config.dtype

    @property
    def rule(self) -> RankRule:
        """Return how the ranks are chosen."""
        if self.config.lora_rank == "auto":
            return RankRule(self.config.max_rank, self.config.kept_energy)
        return RankRule(self.config.lora_rank)


def verify(
    job: ExtractJob,
    tuned: Any,
    layers: Sequence[ChangedLayer],
    folder: Path,
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Load the written adapter onto its base; return how far the logits are from the tuned model's.

    Raises ResultError if a layer is further from the tuned one than its factors were, or if the
    logits differ although nothing was left out.
    """
    prompts = check_prompts(read_tokenizer(folder, trust_remote_code=job.config.trust_remote_code))
    base_model = load_merge_base(job.base_files)
    expected = job.memory.outputs(tuned, prompts)
    before = compare_outputs(expected, job.memory.outputs(base_model, prompts))
    network = attach_adapter(base_model, folder, adapter_shapes(folder))
    written = adapted_layers(network)
    for layer in layers:
        error = _written_error(layer, written.get(layer.name))
        limit = report["layers"][layer.name]["error"] + ROUNDING + DTYPE_ROUNDING[job.dtype]
        if not error <= limit:  # NaN too
            raise wrong_layer(layer.name, error, limit)
    after = compare_outputs(expected, job.memory.outputs(network, prompts))
    is_complete = report["error"] <= ROUNDING and not report["dropped"] and job.dtype == "float32"
    if is_complete and not after.maximum <= COMPLETE_SHARE * max(1.0, after.scale):
        raise wrong_outputs(after)
    job.emit(events.NOTE, key="outputs", message=outputs_message(before, after))
    return {"base": before.figures(), "adapter": after.figures()}


def _written_error(layer: ChangedLayer, written: Any) -> float:
    """Return the error of a layer as peft computes it, as a share of the change."""
    if written is None:
        return float("inf")
    product = written.get_delta_weight("default").float()
    stack = product if layer.is_parameter and product.dim() == 3 else product[None]
    lost = total = 0.0
    for delta, part in zip(layer.deltas(), stack, strict=True):
        total += square(delta)
        lost += square(delta - (part.T if layer.is_transposed else part))
    return error_share(lost, total)
