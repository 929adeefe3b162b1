"""The keys and values of sequences that decode together, written in place and aligned at their end.

Shapes: R rows, C columns kept, Q new columns, H heads, D head size, L tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from swiftbox.errors import MachineError
from swiftbox.language import text

LEAST_ROOM = 256
"""Columns that a window grows by at least: moving it costs as much as hundreds of steps."""

PLAIN = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers whose past is keys and values by token; a window of attention is a matter of the mask."""


def layers_of(model: Any) -> int:
    """Return how many layers keep keys and values; raise MachineError for any other memory."""
    layers = DynamicCache(config=model.config.get_text_config()).layers
    odd = sorted({type(one).__name__ for one in layers if type(one) not in PLAIN})
    if odd or not layers or model.config.is_encoder_decoder:
        kinds = ", ".join(odd) or type(model).__name__
        raise MachineError(
            text(
                f"engine: builtin: the model keeps more than keys and values ({kinds})",
                f"engine: builtin：该模型的缓存不只是键和值（{kinds}）",
            ),
            hint=text("serve it with engine: vllm", "请用 engine: vllm 部署"),
        )
    return len(layers)


def cell_bytes(model: Any) -> int:
    """Return the bytes that one token takes in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * model.dtype.itemsize)


class Lane(CacheLayerMixin):
    """One layer of a window."""

    is_sliding = False

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take number type, device and sizes from the first keys and values."""
        rows, room = self.window.rows_kept, self.window.room
        self.keys = key_states.new_zeros((rows, key_states.shape[1], room, key_states.shape[3]))
        self.values = value_states.new_zeros(
            (rows, value_states.shape[1], room, value_states.shape[3])
        )
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002 - the cache's signature
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the columns of one step; return all that the rows may look at."""
        rows, start, end = len(self.window.starts), self.window.start, self.window.end
        after = end + key_states.shape[2]
        self.keys[:rows, :, end:after] = key_states  # (R, H, Q, D)
        self.values[:rows, :, end:after] = value_states
        return self.keys[:rows, :, start:after], self.values[:rows, :, start:after]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the columns of the mask, and where it begins."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the columns in use."""
        return self.window.end - self.window.start

    def get_max_length(self) -> int:
        """Return -1: it grows."""
        return -1

    def move(self, rows: int, room: int, shift: int) -> None:
        """Take other sizes; what is in use moves by `shift` columns."""
        if not self.is_initialized:
            return
        used, start, end = len(self.window.starts), self.window.start, self.window.end
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], room, old.shape[3]))
            new[:used, :, start + shift : end + shift] = old[:used, :, start:end]
            setattr(self, name, new)


class Window:
    """A cache of rows that come and go; each ends at the same column and starts at its own."""

    def __init__(self, layers: int) -> None:
        self.starts: list[int] = []
        self.end = 0
        self.room = 0
        self.rows_kept = 0
        self.lanes = [Lane(self) for _ in range(layers)]
        self.cache = Cache(layers=self.lanes)

    @property
    def start(self) -> int:
        """Return the first column that any row uses."""
        return min(self.starts, default=self.end)

    @property
    def width(self) -> int:
        """Return the columns from there to the end."""
        return self.end - self.start

    def lengths(self) -> list[int]:
        """Return the tokens that each row has."""
        return [self.end - one for one in self.starts]

    def mask(self, device: Any) -> torch.Tensor:
        """Return which columns each row may look at in a step, its own new one included."""
        columns = torch.arange(self.start, self.end + 1, device=device)
        starts = torch.tensor(self.starts, device=device)
        return (columns[None] >= starts[:, None]).long()  # (R, C + 1)

    def make_room(self, rows: int = 0, length: int = 0) -> None:
        """Have place for further rows of that length, and for one more column."""
        needed, width = len(self.starts) + rows, max(self.width, length)
        if not self.starts and length < self.room:
            self.end = length
        if needed <= self.rows_kept and length <= self.end < self.room:
            return
        kept = max(needed, self.rows_kept)
        room = width + max(LEAST_ROOM, width // 2)
        shift = width - self.end
        for lane in self.lanes:
            lane.move(kept, room, shift)
        self.starts = [one + shift for one in self.starts]
        self.end, self.room, self.rows_kept = width, room, kept

    def join(self, past: Cache, row: int, length: int, copies: int) -> None:
        """Add `copies` rows with the last `length` tokens of a row of another cache."""
        first = len(self.starts)
        begin = self.end - length
        for lane, layer in zip(self.lanes, past.layers, strict=True):
            if not lane.is_initialized:
                lane.lazy_initialization(layer.keys, layer.values)
            whole = layer.keys.shape[2]
            for name in ("keys", "values"):
                new = getattr(layer, name)[row, :, whole - length :]  # (H, L, D)
                getattr(lane, name)[first : first + copies, :, begin : self.end] = new
        self.starts += [begin] * copies

    def leave(self, row: int) -> None:
        """Give a row's place to the last one."""
        last = len(self.starts) - 1
        if row != last:
            begin = self.starts[last]
            for lane in self.lanes:
                for kept in (lane.keys, lane.values):
                    kept[row, :, begin : self.end] = kept[last, :, begin : self.end]
        self.starts[row] = self.starts[last]
        self.starts.pop()


def padded(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Return ids and mask of prompts that end together."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(one)) + list(one) for one in prompts], device=device)
    mask = torch.tensor(
        [[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=device
    )
    return ids, mask  # (R, L), (R, L)
