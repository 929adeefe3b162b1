"""The states of recurrent layers, which hold all tokens of a sequence in a fixed size.

Shapes: R rows, S the size of a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

SUPPORTED_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer)
"""Layers that cache keys and values by token, where the mask alone implements a sliding window, and
layers that keep a state in their place."""


@dataclass(frozen=True)
class CacheLayers:
    """What the layers of a model cache."""

    count: int
    states: Mapping[int, int] = field(default_factory=dict)
    """The number of states of each recurrent layer, by the number of the layer."""

    def empty(self) -> Cache:
        """Return a cache for prompts that are about to be read."""
        return Cache(
            layers=[
                LinearAttentionLayer(number_of_states=self.states[number])
                if number in self.states
                else DynamicLayer()
                for number in range(self.count)
            ]
        )


def cache_layers(config: Any) -> tuple[CacheLayers, list[str]]:
    """Return what a decoder's layers cache, and the names of kinds that are not supported."""
    layers = DynamicCache(config=config).layers
    unknown = sorted(
        {type(layer).__name__ for layer in layers if type(layer) not in SUPPORTED_LAYERS}
    )
    states = {
        number: layer.number_of_states
        for number, layer in enumerate(layers)
        if type(layer) is LinearAttentionLayer
    }
    if len(states) == len(layers):  # positions are counted by a layer with keys
        unknown = unknown or [LinearAttentionLayer.__name__]
    return CacheLayers(len(layers), states), unknown


def uncached_kinds(config: Any) -> list[str]:
    """Return the kinds of caches of a model that prevent serving it; empty if it can be served."""
    layers, unsupported = cache_layers(config.get_text_config())
    if config.is_encoder_decoder or not layers.count:
        return unsupported or [type(config).__name__]
    return unsupported


class RecurrentRows(LinearAttentionLayer):
    """The states of one layer for sequences that join and leave.  # each (R, S)"""

    def join(self, source: Any, row: int, copies: int) -> None:
        """Add `copies` rows with the states of a row of another cache."""
        for number in range(self.number_of_states):
            self.has_previous_state[number] = source.has_previous_state[number]
            self.conv_kernel_size[number] = source.conv_kernel_size[number]
            for states, sources, flags in self._kinds(source):
                if sources[number] is None:
                    continue
                rows = sources[number][row : row + 1].expand(copies, *sources[number].shape[1:])
                before = states[number]
                states[number] = rows.clone() if before is None else torch.cat((before, rows))
                flags[number] = True
        self.dtype, self.device = source.dtype, source.device

    def leave(self, row: int) -> None:
        """Remove a row; the last one takes its place."""
        for states in (self.conv_states, self.recurrent_states):
            for number, state in states.items():
                if state is not None:
                    last = len(state) - 1
                    state[row] = state[last]
                    states[number] = state[:last].clone()

    def _kinds(self, source: Any) -> Any:
        return (
            (self.conv_states, source.conv_states, self.is_conv_states_initialized),
            (self.recurrent_states, source.recurrent_states, self.is_recurrent_states_initialized),
        )
