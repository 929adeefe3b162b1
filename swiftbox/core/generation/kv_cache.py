"""The keys and values of sequences that are generated together, updated in place.

All sequences end at the same column and start at their own, so that a step writes one column.

Shapes: R rows, C columns in use, Q new columns, H heads, D head size, L tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from swiftbox.architectures.served_limits import uncached_error
from swiftbox.core.generation.device_access import upload
from swiftbox.core.generation.recurrent_rows import (
    CacheLayers,
    RecurrentRows,
    cache_layers,
    uncached_kinds,
)

MIN_GROWTH = 256
"""Columns that a cache grows by at least: to copy it costs as much as hundreds of steps."""


def layers_of(model: Any) -> CacheLayers:
    """Return what a model's layers cache; raise MachineError for caches of other kinds."""
    kinds = uncached_kinds(model.config)
    if kinds:
        raise uncached_error(kinds)
    return cache_layers(model.config.get_text_config())[0]


def cell_bytes(model: Any) -> int:
    """Return the bytes that one token takes in the caches of all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_size = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return int(2 * config.num_hidden_layers * heads * head_size * model.dtype.itemsize)


def empty(states: torch.Tensor, capacity: tuple[int, int]) -> torch.Tensor:
    """Return zeros for keys or values like these, with so many rows and columns."""
    rows, columns = capacity
    return states.new_zeros((rows, states.shape[1], columns, states.shape[3]))


class BatchCacheLayer(CacheLayerMixin):
    """One layer of a batch's cache."""

    is_sliding = False

    def __init__(self, owner: BatchCache) -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take number type, device and sizes from the first keys and values."""
        capacity = (self.owner.row_capacity, self.owner.column_capacity)
        self.keys, self.values = empty(key_states, capacity), empty(value_states, capacity)
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002 - the cache's signature
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the columns of one step; return all that the rows may attend to."""
        rows, start, end = len(self.owner.starts), self.owner.start, self.owner.end
        after = end + key_states.shape[2]
        self.keys[:rows, :, end:after] = key_states  # (R, H, Q, D)
        self.values[:rows, :, end:after] = value_states
        return self.keys[:rows, :, start:after], self.values[:rows, :, start:after]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of columns of the mask, and its offset."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of columns in use."""
        return self.owner.end - self.owner.start

    def get_max_length(self) -> int:
        """Return -1: it grows."""
        return -1

    def resize(self, rows: int, columns: int, shift: int) -> None:
        """Change the capacity; columns in use move by `shift`."""
        if not self.is_initialized:
            return
        used, start, end = len(self.owner.starts), self.owner.start, self.owner.end
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = empty(old, (rows, columns))
            new[:used, :, start + shift : end + shift] = old[:used, :, start:end]
            setattr(self, name, new)


class BatchCache:
    """A cache whose rows join and leave; `past` is what the model's forward pass takes."""

    def __init__(self, layers: CacheLayers) -> None:
        self.starts: list[int] = []
        self.end = 0
        self.column_capacity = 0
        self.row_capacity = 0
        self.all_layers = [
            RecurrentRows(number_of_states=layers.states[number])
            if number in layers.states
            else BatchCacheLayer(self)
            for number in range(layers.count)
        ]
        self.layers = [layer for layer in self.all_layers if isinstance(layer, BatchCacheLayer)]
        self.past = Cache(layers=self.all_layers)

    @property
    def start(self) -> int:
        """Return the first column that any row uses."""
        return min(self.starts, default=self.end)

    @property
    def width(self) -> int:
        """Return the number of columns in use."""
        return self.end - self.start

    def lengths(self) -> list[int]:
        """Return the number of tokens of each row."""
        return [self.end - start for start in self.starts]

    def mask(self, device: Any) -> torch.Tensor:
        """Return the columns that each row may attend to in a step, its new one included."""
        columns = torch.arange(self.start, self.end + 1, device=device)
        starts = upload(self.starts, torch.long, device)
        return (columns[None] >= starts[:, None]).long()  # (R, C + 1)

    def make_room(self, rows: int = 0, length: int = 0) -> None:
        """Make space for more rows of that length, and for one more column."""
        needed_rows, width = len(self.starts) + rows, max(self.width, length)
        if not self.starts and length < self.column_capacity:
            self.end = length
        if needed_rows <= self.row_capacity and length <= self.end < self.column_capacity:
            return
        row_capacity = max(needed_rows, self.row_capacity)
        column_capacity = width + max(MIN_GROWTH, width // 2)
        shift = width - self.end
        for layer in self.layers:
            layer.resize(row_capacity, column_capacity, shift)
        self.starts = [start + shift for start in self.starts]
        self.end = width
        self.column_capacity, self.row_capacity = column_capacity, row_capacity

    def join(self, past: Cache, row: int, length: int, copies: int) -> None:
        """Add `copies` rows with the last `length` tokens of a row of another cache."""
        first = len(self.starts)
        start = self.end - length
        for layer, source in zip(self.all_layers, past.layers, strict=True):
            if isinstance(layer, RecurrentRows):
                layer.join(source, row, copies)
                continue
            if not layer.is_initialized:
                layer.lazy_initialization(source.keys, source.values)
            source_length = source.keys.shape[2]
            for name in ("keys", "values"):
                new = getattr(source, name)[row, :, source_length - length :]  # (H, L, D)
                getattr(layer, name)[first : first + copies, :, start : self.end] = new
        self.starts += [start] * copies

    def forward(self, select: Callable[[], Any], tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits (R, V) that follow one more token of each row.

        Args:
            select: Returns the model with the adapter of the rows.
            tokens: The token of each row, on the device.
        """
        lengths = self.lengths()
        has_padding = len(set(lengths)) > 1
        output = select()(
            input_ids=tokens[:, None],
            attention_mask=self.mask(tokens.device) if has_padding else None,
            position_ids=upload(lengths, torch.long, tokens.device)[:, None],
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=1,
        )
        self.end += 1
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def has_column(self) -> bool:
        """Return whether a step of the rows fits without growth."""
        return self.end < self.column_capacity

    def cells(self, rows: int = 0, length: int = 0) -> int:
        """Return the cells that it needs with more rows of that length."""
        return (len(self.starts) + rows) * (max(self.width, length) + 1)

    def least(self, rows: int = 0, length: int = 0) -> int:
        """Return the same as `cells`: it counts what is in use."""
        return self.cells(rows, length)

    @property
    def packed(self) -> int:
        """Return the cells in use."""
        return self.cells()

    def leave(self, row: int) -> None:
        """Remove a row; the last one takes its place.

        Columns that become free are set to 0: a mask hides what is there, but 0 times NaN is NaN.
        """
        for states in self.all_layers:
            if isinstance(states, RecurrentRows):
                states.leave(row)
        last = len(self.starts) - 1
        removed, start = self.starts[row], self.starts[last]
        for layer in self.layers:
            for tensor in (layer.keys, layer.values):
                if row != last:
                    tensor[row, :, start : self.end] = tensor[last, :, start : self.end]
                    tensor[row, :, removed:start] = 0
                tensor[last, :, start : self.end] = 0
        self.starts[row] = start
        self.starts.pop()


def pad_left(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Return ids and mask of prompts that end at the same column."""
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)  # (R, L), (R, L)
