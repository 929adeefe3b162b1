"""Merge the layers of an adapter one by one, each in float32."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from swiftbox.core.weights.cast import Keep


def merge_and_unload(network: Any, keep: Keep) -> Any:
    """Return the base with its adapter merged; only one layer at a time has float32 copies.

    What a merge changes is passed to `keep` in float32; the other weights stay as they are stored.
    Raises ValueError for NaN, and for a layer that peft cannot merge.
    """
    for layer in network.modules():
        if isinstance(layer, BaseTunerLayer):
            _merge_layer(layer, keep)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All adapters are already merged")
        return network.merge_and_unload(safe_merge=True).eval()


def _merge_layer(layer: Any, keep: Keep) -> None:
    stored = [(weight, weight.data) for weight in layer.parameters() if weight.is_floating_point()]
    for weight, data in stored:
        weight.data = data.float()
    layer.merge(safe_merge=True)
    for weight, data in stored:
        if _is_changed(weight.data, data):
            weight.data = keep(weight.data)
        else:
            weight.data = data


def _is_changed(merged: torch.Tensor, stored: torch.Tensor) -> bool:
    if merged.data_ptr() == stored.data_ptr():
        return False
    return not torch.equal(merged, stored.float())
