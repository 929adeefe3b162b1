"""Sequences of one adapter that decode together, and prompts on their way to them.

Shapes: R rows, L tokens of the longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from swiftbox.core.generation.sampling import Chooser, Pick, Sampling, choose
from swiftbox.core.generation.transcript import Transcript
from swiftbox.core.generation.window import Window, padded

CHUNK = 512
"""Tokens of a prompt that are read between two steps: those who wait for a token wait no longer."""


@dataclass
class Row:
    """One sequence: its request, what it has said, and the token that goes in next."""

    ticket: Any
    index: int
    prompt: Sequence[int]
    chooser: Chooser
    transcript: Transcript
    next_token: int = 0
    count: int = 0
    """Tokens that were chosen for it."""
    logs: list[Pick] = field(default_factory=list)
    told: int = 0

    @property
    def sampling(self) -> Sampling:
        """Return how it is written."""
        return self.chooser.sampling

    def all_tokens(self) -> list[int]:
        """Return prompt and answer so far: what is read again after it had to make place."""
        return [*self.prompt, *self.transcript.tokens]


@dataclass
class Entry:
    """Tokens to read, and the rows that go on from them: several for `n`, one that comes back."""

    tokens: Sequence[int]
    rows: list[Row]
    adapter: str


@dataclass
class Reading:
    """Prompts of one adapter that are being read, a chunk at a time."""

    entries: list[Entry]
    ids: torch.Tensor
    mask: torch.Tensor
    past: Cache
    done: int = 0

    @classmethod
    def of(cls, entries: list[Entry], layers: int, device: Any) -> Reading:
        """Begin to read these entries."""
        ids, mask = padded([one.tokens for one in entries], 0, device)
        past = Cache(layers=[DynamicLayer() for _ in range(layers)])
        return cls(entries, ids, mask, past)

    @property
    def adapter(self) -> str:
        """Return whose prompts they are."""
        return self.entries[0].adapter

    def step(self, model: Any) -> torch.Tensor | None:
        """Read a chunk; after the last one return the logits (R, V) that follow the prompts."""
        upto = min(self.done + CHUNK, self.ids.shape[1])
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, self.done : upto]
        said = model(
            input_ids=self.ids[:, self.done : upto],
            attention_mask=self.mask[:, :upto],
            position_ids=positions,
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=1,
        )
        self.done = upto
        return said.logits[:, -1] if upto == self.ids.shape[1] else None


class Batch:
    """The rows of one adapter and their window."""

    def __init__(self, adapter: str, layers: int) -> None:
        self.adapter = adapter
        self.rows: list[Row] = []
        self.window = Window(layers)

    def join(self, reading: Reading, logits: torch.Tensor) -> list[tuple[Row, Pick]]:
        """Take over the rows of prompts that were read; return the first token of each."""
        lengths = [len(one.tokens) for one in reading.entries]
        rows = [row for one in reading.entries for row in one.rows]
        self.window.make_room(len(rows), max(lengths))
        where = []
        for at, entry in enumerate(reading.entries):
            self.window.join(reading.past, at, lengths[at], len(entry.rows))
            where += [at] * len(entry.rows)
        self.rows += rows
        return self._chosen(logits[where], rows)

    def step(self, model: Any) -> list[tuple[Row, Pick]]:
        """Write one token on every row; return which."""
        self.window.make_room()
        device = model.device
        lengths = self.window.lengths()
        ragged = len(set(lengths)) > 1
        said = model(
            input_ids=torch.tensor([[row.next_token] for row in self.rows], device=device),
            attention_mask=self.window.mask(device) if ragged else None,
            position_ids=torch.tensor(lengths, device=device)[:, None],
            past_key_values=self.window.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.window.end += 1
        return self._chosen(said.logits[:, -1], self.rows)

    def _chosen(self, logits: torch.Tensor, rows: Sequence[Row]) -> list[tuple[Row, Pick]]:
        picks = choose(logits, [row.chooser for row in rows])
        for row, pick in zip(rows, picks, strict=True):
            row.next_token = pick.token
            row.count += 1
        return list(zip(list(rows), picks, strict=True))

    def drop(self, row: Row) -> None:
        """Let a row go; the last one takes its place."""
        at = next(place for place, one in enumerate(self.rows) if one is row)
        self.window.leave(at)
        self.rows[at] = self.rows[-1]
        self.rows.pop()

    def cells(self, rows: int = 0, length: int = 0) -> int:
        """Return the tokens' places it needs with further rows of that length."""
        width = max(self.window.width, length) + 1
        return (len(self.rows) + rows) * width
