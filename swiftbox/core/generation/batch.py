"""Prompts that are being read, and sequences of one adapter that are generated together.

Shapes: R rows, L tokens of the longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from swiftbox.core.generation.kv_cache import BatchCache, pad_left
from swiftbox.core.generation.sampling import (
    SampledToken,
    Sampling,
    TokenSampler,
    sample_tokens,
)
from swiftbox.core.generation.transcript import Transcript

PREFILL_CHUNK = 512
"""Tokens of a prompt that are read between two steps, which bounds how long other answers wait."""


@dataclass
class GeneratedSequence:
    """One answer: its request, its text so far, and the token that is the next input."""

    ticket: Any
    index: int
    prompt: Sequence[int]
    sampler: TokenSampler
    transcript: Transcript
    next_token: int = 0
    count: int = 0
    """Tokens that were sampled for it."""
    logs: list[SampledToken] = field(default_factory=list)
    delivered_logs: int = 0

    @property
    def sampling(self) -> Sampling:
        """Return how it is sampled."""
        return self.sampler.sampling

    def all_tokens(self) -> list[int]:
        """Return prompt and answer so far, which are read again after a preemption."""
        return [*self.prompt, *self.transcript.tokens]


@dataclass
class PrefillEntry:
    """Tokens to read, and the sequences that continue from them: several for `n` answers."""

    tokens: Sequence[int]
    rows: list[GeneratedSequence]
    adapter: str


@dataclass
class Prefill:
    """Prompts of one adapter that are being read, a chunk at a time."""

    entries: list[PrefillEntry]
    ids: torch.Tensor
    mask: torch.Tensor
    past: Cache
    done: int = 0

    @classmethod
    def of(cls, entries: list[PrefillEntry], layers: int, device: Any) -> Prefill:
        """Start to read these entries."""
        ids, mask = pad_left([entry.tokens for entry in entries], 0, device)
        past = Cache(layers=[DynamicLayer() for _ in range(layers)])
        return cls(entries, ids, mask, past)

    @property
    def adapter(self) -> str:
        """Return the adapter of the prompts."""
        return self.entries[0].adapter

    def step(self, model: Any) -> torch.Tensor | None:
        """Read a chunk; after the last one return the logits (R, V) that follow the prompts."""
        end = min(self.done + PREFILL_CHUNK, self.ids.shape[1])
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, self.done : end]
        output = model(
            input_ids=self.ids[:, self.done : end],
            attention_mask=self.mask[:, :end],
            position_ids=positions,
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=1,
        )
        self.done = end
        return output.logits[:, -1] if end == self.ids.shape[1] else None


class DecodeBatch:
    """Sequences of one adapter that are generated together, and their key-value cache."""

    def __init__(self, adapter: str, layers: int) -> None:
        self.adapter = adapter
        self.rows: list[GeneratedSequence] = []
        self.cache = BatchCache(layers)

    def join(
        self, prefill: Prefill, logits: torch.Tensor
    ) -> list[tuple[GeneratedSequence, SampledToken]]:
        """Add the sequences of prompts that were read; return the first token of each."""
        lengths = [len(entry.tokens) for entry in prefill.entries]
        rows = [row for entry in prefill.entries for row in entry.rows]
        self.cache.make_room(len(rows), max(lengths))
        logit_rows = []
        for position, entry in enumerate(prefill.entries):
            self.cache.join(prefill.past, position, lengths[position], len(entry.rows))
            logit_rows += [position] * len(entry.rows)
        self.rows += rows
        return self._sample(logits[logit_rows], rows)

    def step(self, model: Any) -> list[tuple[GeneratedSequence, SampledToken]]:
        """Generate one token for every sequence; return them."""
        self.cache.make_room()
        device = model.device
        lengths = self.cache.lengths()
        has_padding = len(set(lengths)) > 1
        output = model(
            input_ids=torch.tensor([[row.next_token] for row in self.rows], device=device),
            attention_mask=self.cache.mask(device) if has_padding else None,
            position_ids=torch.tensor(lengths, device=device)[:, None],
            past_key_values=self.cache.past,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache.end += 1
        return self._sample(output.logits[:, -1], self.rows)

    def _sample(
        self, logits: torch.Tensor, rows: Sequence[GeneratedSequence]
    ) -> list[tuple[GeneratedSequence, SampledToken]]:
        tokens = sample_tokens(logits, [row.sampler for row in rows])
        for row, sampled in zip(rows, tokens, strict=True):
            row.next_token = sampled.token
            row.count += 1
        return list(zip(list(rows), tokens, strict=True))

    def drop(self, row: GeneratedSequence) -> None:
        """Remove a sequence; the last one takes its row."""
        index = next(index for index, other in enumerate(self.rows) if other is row)
        self.cache.leave(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()

    def cells(self, rows: int = 0, length: int = 0) -> int:
        """Return the tokens that its cache needs space for with more rows of that length."""
        width = max(self.cache.width, length) + 1
        return (len(self.rows) + rows) * width
