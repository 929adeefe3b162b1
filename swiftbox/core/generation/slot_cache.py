"""A key-value cache whose tensors stay where they are, so that steps can be replayed as graphs.

Each sequence has a slot, a row of the cache, and its tokens start at column 0. A step computes with
a bucket of rows and a bucket of columns: a view of the cache of few possible shapes. What differs
between two steps of a bucket is in tensors only: the tokens, and the position of each row, where
its new key is written and up to which it attends. Rows of the bucket without a sequence have
position 0; nobody reads what they write. A step changes no position, so that to repeat it does
nothing new.

Columns without a token are masked, but they are still multiplied: by weights of 0, and 0 times NaN
is NaN. So all that a sequence leaves behind is set to 0; its values may have overflowed.

Shapes: R rows of the bucket, C columns of the bucket, H heads, D head size, L tokens of a prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from swiftbox.core.generation.device_access import upload
from swiftbox.core.generation.kv_cache import empty
from swiftbox.core.generation.recurrent_rows import CacheLayers
from swiftbox.core.generation.step_graphs import CapturedStep, StepGraphs

SMALLEST_COLUMNS = 256
"""Columns of the smallest bucket."""

ALIGNED_COLUMNS = 16
"""Attention kernels read masks of a multiple of this length without a copy."""

LEAST_GROWTH = 64
"""Columns that rows must be able to grow by before their cache is copied again."""

LARGEST_GRAPHS = 24
"""Graphs of one cache; each takes a few MiB. The one that was not used for longest is dropped."""


def bucket(count: int, smallest: int = 1) -> int:
    """Return the next of smallest * (1, 1.5, 2, 3, 4, 6, ...) that is at least the count."""
    size = smallest
    while size < count and size + size // 2 < count:
        size *= 2
    return size if size >= count else max(size + size // 2, count)


def _aligned(columns: int) -> int:
    return -(-columns // ALIGNED_COLUMNS) * ALIGNED_COLUMNS


@dataclass(frozen=True)
class CacheSpace:
    """How large a cache may become."""

    rows: int
    columns: int
    cells: int
    """Rows times columns; `SlotCache.limit` changes it later."""
    start_cells: int
    """What may be reserved at once, so that the cache need not grow soon."""


class SlotCacheLayer(CacheLayerMixin):
    """One layer of a slot cache."""

    is_sliding = False

    def __init__(self, owner: SlotCache) -> None:
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
        """Write one token of each row at its position; return the columns of the bucket."""
        rows, columns = self.owner.view
        places = (self.owner.row_indices[:rows], self.owner.positions[:rows])
        keys, values = self.keys[:rows, :, :columns], self.values[:rows, :, :columns]
        keys.transpose(1, 2).index_put_(places, key_states[:, :, 0])  # (R, H, D)
        values.transpose(1, 2).index_put_(places, value_states[:, :, 0])
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - the signature
        """Return the number of columns of the mask, and its offset."""
        return self.owner.view[1], 0

    def get_seq_length(self) -> int:
        """Return the columns before the new one; the mask says which of them are in use."""
        return self.owner.view[1] - 1

    def get_max_length(self) -> int:
        """Return the columns of the cache."""
        return self.owner.column_capacity

    def resize(self, rows: int, columns: int) -> None:
        """Change the capacity; what is in use stays."""
        if not self.is_initialized:
            return
        used, width = len(self.owner.lengths), max(self.owner.lengths, default=0)
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = empty(old, (rows, columns))
            new[:used, :, :width] = old[:used, :, :width]
            setattr(self, name, new)


class SlotCache:
    """Slots that sequences enter and leave; `forward` computes one step of all of them."""

    def __init__(self, layers: CacheLayers, space: CacheSpace, graphs: StepGraphs) -> None:
        self.space = space
        self.limit = space.cells
        """Cells that it may have; more only if its rows do not fit otherwise."""
        self.lengths: list[int] = []
        self.row_capacity = 0
        self.column_capacity = 0
        self.view = (0, 0)
        self.layers = [SlotCacheLayer(self) for _ in range(layers.count)]
        self.past = Cache(layers=self.layers)
        self._graphs = graphs
        self._captured: OrderedDict[tuple[int, int], CapturedStep] = OrderedDict()
        self._computed: set[tuple[int, int]] = set()
        self._moved = True
        """Rows came, left or changed their slots since the positions were uploaded."""

    # ---- capacity

    def cells(self, rows: int = 0, length: int = 0) -> int:
        """Return the cells that it needs with more rows of that length: what it has, if enough."""
        if self._fits(rows, length):
            return self.reserved
        return self.least(rows, length)

    def least(self, rows: int = 0, length: int = 0) -> int:
        """Return the cells with which the rows, and more of that length, need not move soon."""
        row_count, columns = self._least(rows, length)
        return row_count * columns

    @property
    def reserved(self) -> int:
        """Return the cells that its tensors have."""
        return self.row_capacity * self.column_capacity

    @property
    def packed(self) -> int:
        """Return the cells that its tensors have after `pack`."""
        return min(self.reserved, self.least())

    def pack(self) -> None:
        """Give back the cells that its rows do not need soon."""
        if self.packed < self.reserved:
            self._resize(self._least(0, 0))

    def _needed(self, rows: int, length: int) -> tuple[int, int]:
        return len(self.lengths) + rows, max([length, *self.lengths]) + 1

    def _fits(self, rows: int, length: int) -> bool:
        needed_rows, needed_columns = self._needed(rows, length)
        return needed_rows <= self.row_capacity and needed_columns <= self.column_capacity

    def _columns_limit(self) -> int:
        return _aligned(self.space.columns + 1)

    def _least(self, rows: int, length: int) -> tuple[int, int]:
        """Return the smallest capacity with which rows need not move again soon."""
        needed_rows, needed_columns = self._needed(rows, length)
        headroom = max(LEAST_GROWTH, needed_columns // 8)
        columns = min(_aligned(needed_columns + headroom), self._columns_limit())
        return needed_rows, max(columns, _aligned(needed_columns))

    def _capacity(self, rows: int, length: int) -> tuple[int, int]:
        """Return the capacity to take: a bucket, or what the limit of cells allows of it."""
        if self._fits(rows, length):
            return self.row_capacity, self.column_capacity
        needed_rows, needed_columns = self._needed(rows, length)
        rows_limit, columns_limit = max(self.space.rows, needed_rows), self._columns_limit()
        row_bucket = min(bucket(needed_rows), rows_limit)
        column_bucket = max(
            min(bucket(needed_columns, SMALLEST_COLUMNS), columns_limit), _aligned(needed_columns)
        )
        if not self.row_capacity:
            start = self._start_columns(columns_limit)
            if start >= needed_columns and row_bucket <= self.space.rows:
                return self.space.rows, start
        larger = max(row_bucket, self.row_capacity), max(column_bucket, self.column_capacity)
        for capacity in (larger, (row_bucket, column_bucket), (needed_rows, column_bucket)):
            if capacity[0] * capacity[1] <= self.limit:
                return capacity
        allowed = self.limit // needed_rows // ALIGNED_COLUMNS * ALIGNED_COLUMNS
        return needed_rows, max(min(allowed, column_bucket), _aligned(needed_columns))

    def _start_columns(self, limit: int) -> int:
        """Return the columns that all rows together may reserve at once; 0 if there are few."""
        columns = min(self.space.start_cells // max(1, self.space.rows), limit)
        return columns // ALIGNED_COLUMNS * ALIGNED_COLUMNS

    def make_room(self, rows: int = 0, length: int = 0) -> None:
        """Make space for more rows of that length, and for one more column."""
        capacity = self._capacity(rows, length)
        if capacity != (self.row_capacity, self.column_capacity):
            self._resize(capacity)

    def _resize(self, capacity: tuple[int, int]) -> None:
        self.drop_graphs()  # they hold the addresses of the old tensors
        for layer in self.layers:
            layer.resize(*capacity)
        self.row_capacity, self.column_capacity = capacity
        self._moved = True

    def has_column(self) -> bool:
        """Return whether a step of the rows fits without growth."""
        return max(self.lengths, default=0) < self.column_capacity

    def drop_graphs(self) -> None:
        """Forget the captured steps."""
        self._captured.clear()
        self._computed.clear()

    # ---- rows

    def join(self, past: Cache, row: int, length: int, copies: int) -> None:
        """Add `copies` rows with the last `length` tokens of a row of another cache."""
        first = len(self.lengths)
        for layer, source in zip(self.layers, past.layers, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(source.keys, source.values)
            for name in ("keys", "values"):
                states = getattr(source, name)
                new = states[row, :, states.shape[2] - length :]  # (H, L, D)
                getattr(layer, name)[first : first + copies, :, :length] = new
        self.lengths += [length] * copies
        self._moved = True

    def leave(self, row: int) -> None:
        """Remove a row; the last one takes its slot. Columns that become free are cleared."""
        last = len(self.lengths) - 1
        removed, length = self.lengths[row], self.lengths[last]
        for layer in self.layers:
            for tensor in (layer.keys, layer.values):
                if row != last:
                    tensor[row, :, :length] = tensor[last, :, :length]
                    tensor[row, :, length:removed] = 0
                tensor[last, :, :length] = 0
        self.lengths[row] = length
        self.lengths.pop()
        self._moved = True

    def clear(self) -> None:
        """Remove all rows; tensors and graphs stay for the next ones."""
        while self.lengths:
            self.leave(len(self.lengths) - 1)

    # ---- a step

    def forward(self, select: Callable[[], Any], tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits (rows, V) that follow one more token of each row.

        Args:
            select: Returns the model with the adapter of the rows.
            tokens: The token of each row, on the device.
        """
        rows = len(self.lengths)
        self._set_inputs(tokens)
        width = bucket(max(self.lengths) + 1, SMALLEST_COLUMNS)
        view = min(bucket(rows), self.row_capacity), min(width, self.column_capacity)
        logits = self._logits(select, view)
        self.lengths = [length + 1 for length in self.lengths]
        return logits[:rows]

    def _set_inputs(self, tokens: torch.Tensor) -> None:
        """Write tokens and positions into the tensors that the graphs read."""
        rows = len(self.lengths)
        if self._moved:
            padding = [0] * (self.row_capacity - rows)
            positions = upload([*self.lengths, *padding], torch.long, tokens.device)
            if not self._captured and not self._computed:
                self._allocate_inputs(tokens.device)
            self.positions.copy_(positions)
            self._moved = False
        else:
            self.positions[:rows] += 1
        self.tokens[:rows, 0] = tokens

    def _allocate_inputs(self, device: Any) -> None:
        self.tokens = torch.zeros((self.row_capacity, 1), dtype=torch.long, device=device)
        self.positions = torch.zeros(self.row_capacity, dtype=torch.long, device=device)
        self.row_indices = torch.arange(self.row_capacity, device=device)
        self.column_indices = torch.arange(self.column_capacity, device=device)

    def _logits(self, select: Callable[[], Any], view: tuple[int, int]) -> torch.Tensor:
        captured = self._captured.get(view)
        if captured is not None:
            self._captured.move_to_end(view)
            captured.replay()
            return captured.output
        model = select()
        self.view = view
        logits = self._compute(model)
        if view not in self._computed:  # the first time warms up what libraries set up lazily
            self._computed.add(view)
        elif captured := self._graphs.capture(lambda: self._compute(model), logits):
            self._captured[view] = captured
            if len(self._captured) > LARGEST_GRAPHS:
                self._captured.popitem(last=False)
        return logits

    def _compute(self, model: Any) -> torch.Tensor:
        """Return the logits (R, V) of a step, by the tensors and the view alone."""
        rows, columns = self.view
        positions = self.positions[:rows, None]  # (R, 1)
        hidden = self.column_indices[None, :columns] > positions  # (R, C)
        mask = torch.zeros(hidden.shape, dtype=model.dtype, device=hidden.device)
        mask = mask.masked_fill(hidden, torch.finfo(model.dtype).min)
        output = model(
            input_ids=self.tokens[:rows],
            attention_mask=mask[:, None, None],  # (R, 1, 1, C): passed on as it is
            position_ids=positions,
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits
