"""Prompts that are being read, and sequences of one adapter that are generated together.

Shapes: R rows, L tokens of the longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache

from swiftbox.core.generation.batch_sampler import BatchSampler, SampledBatch, sample_tokens
from swiftbox.core.generation.device_access import upload
from swiftbox.core.generation.kv_cache import BatchCache, pad_left
from swiftbox.core.generation.reading_pace import SHORT_PROMPT
from swiftbox.core.generation.recurrent_rows import CacheLayers
from swiftbox.core.generation.requests import Ticket
from swiftbox.core.generation.sampling import SampledToken, Sampling, TokenSampler
from swiftbox.core.generation.slot_cache import SlotCache
from swiftbox.core.generation.transcript import Transcript


@dataclass
class GeneratedSequence:
    """One answer: its request, its text so far, and the token that is the next input."""

    ticket: Any
    index: int
    prompt: Sequence[int]
    sampler: TokenSampler
    transcript: Transcript
    next_token: int = 0
    logs: list[SampledToken] = field(default_factory=list)
    delivered_logs: int = 0

    @property
    def sampling(self) -> Sampling:
        """Return how it is sampled."""
        return self.sampler.sampling

    @property
    def count(self) -> int:
        """Return the number of tokens that were sampled for it."""
        return self.sampler.count

    @property
    def age(self) -> tuple[float, int]:
        """Return what sorts sequences, the oldest first."""
        return self.ticket.arrived, self.index

    def all_tokens(self) -> list[int]:
        """Return prompt and answer so far, which are read again after a preemption."""
        return [*self.prompt, *self.transcript.tokens]

    def add(self, sampled: SampledToken) -> str | None:
        """Add a token to the text; return the reason if the answer ends."""
        if sampled.token in self.sampling.stop_ids:
            return "stop"
        self.transcript.add(sampled.token)
        if self.sampling.logprobs is not None:
            self.logs.append(sampled)
        if self.transcript.stopped:
            return "stop"
        constraint = self.sampler.constraint
        if constraint is not None and (constraint.failure or constraint.is_complete):
            self.transcript.flush()
            return "error" if constraint.failure else "stop"
        if self.count >= self.sampling.max_tokens:
            self.transcript.flush()
            return "stop" if self.transcript.stopped else "length"
        return None

    def new_logs(self, finish: str | None) -> tuple[SampledToken, ...]:
        """Return the log probabilities of tokens whose text is released for the first time."""
        if self.sampling.logprobs is None:
            return ()
        end = self.transcript.released_tokens()
        if finish and not self.transcript.stopped:
            end = len(self.logs)
        new = tuple(self.logs[self.delivered_logs : end])
        self.delivered_logs = max(self.delivered_logs, end)
        return new


@dataclass(eq=False)
class PrefillEntry:
    """Tokens to read, and the sequences that continue from them: several for `n` answers."""

    tokens: Sequence[int]
    rows: list[GeneratedSequence]
    adapter: str
    after: int = 0
    """Sequences that must have ended before it is read, so that it is not sent back at once."""

    @classmethod
    def of(cls, ticket: Ticket, tokenizer: Any) -> PrefillEntry:
        """Return the prompt of a new request with a sequence for each of its answers."""
        request = ticket.request
        rows = [
            GeneratedSequence(
                ticket,
                index,
                request.prompt,
                TokenSampler(sampling, request.prompt, index),
                Transcript(tokenizer, sampling.stop, sampling.visible),
            )
            for index, sampling in enumerate(request.samplings)
        ]
        return cls(request.prompt, rows, request.adapter)


@dataclass
class Prefill:
    """Prompts of one adapter that are being read, a part at a time."""

    entries: list[PrefillEntry]
    ids: torch.Tensor
    mask: torch.Tensor
    past: Cache
    done: int = 0

    @classmethod
    def of(cls, entries: list[PrefillEntry], layers: CacheLayers, device: Any) -> Prefill:
        """Start to read these entries."""
        ids, mask = pad_left([entry.tokens for entry in entries], 0, device)
        return cls(entries, ids, mask, layers.empty())

    @property
    def adapter(self) -> str:
        """Return the adapter of the prompts."""
        return self.entries[0].adapter

    @property
    def length(self) -> int:
        """Return the tokens of the longest prompt."""
        return self.ids.shape[1]

    @property
    def is_long(self) -> bool:
        """Return whether they are read in several parts."""
        return self.length > SHORT_PROMPT

    @property
    def is_read(self) -> bool:
        """Return whether all parts were read."""
        return self.done == self.length

    def step(self, model: Any, tokens: int) -> torch.Tensor | None:
        """Read a part; after the last one return the logits (R, V) that follow the prompts."""
        end = min(self.done + tokens, self.length)
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
        return output.logits[:, -1] if self.is_read else None


@dataclass(frozen=True)
class LaunchedStep:
    """A step in the device's queue, and the sequences that it computes."""

    rows: tuple[GeneratedSequence, ...]
    sampled: SampledBatch


class DecodeBatch:
    """Sequences of one adapter that are generated together, and their key-value cache.

    With `overlap`, a step is launched before the tokens of the last one are read, so that the
    device computes while the host turns tokens into text. A sequence that ends then has one token
    more in the queue, which is dropped. Before the rows change, `_settle` reads what is in the
    queue; the tokens of the remaining rows are what the next `step` returns.
    """

    def __init__(
        self, adapter: str, cache: BatchCache | SlotCache, *, overlap: bool = False
    ) -> None:
        self.adapter = adapter
        self.rows: list[GeneratedSequence] = []
        self.cache = cache
        self.overlap = overlap
        self._sampler: BatchSampler | None = None
        self._tokens: torch.Tensor | None = None
        """The tokens of the last step on the device, while the rows are the same."""
        self._launched: LaunchedStep | None = None
        self._arrived: list[tuple[GeneratedSequence, SampledToken]] = []

    def join(
        self, prefill: Prefill, logits: torch.Tensor
    ) -> list[tuple[GeneratedSequence, SampledToken]]:
        """Add the sequences of prompts that were read; return the first token of each."""
        self._settle()
        lengths = [len(entry.tokens) for entry in prefill.entries]
        rows = [row for entry in prefill.entries for row in entry.rows]
        self.cache.make_room(len(rows), max(lengths))
        logit_rows = []
        for position, entry in enumerate(prefill.entries):
            self.cache.join(prefill.past, position, lengths[position], len(entry.rows))
            logit_rows += [position] * len(entry.rows)
        self.rows += rows
        self._forget_sampler()
        chosen = logits.index_select(0, upload(logit_rows, torch.long, logits.device))
        tokens = sample_tokens(chosen, [row.sampler for row in rows])
        return _count(list(zip(rows, tokens, strict=True)))

    def step(self, select: Callable[[], Any]) -> list[tuple[GeneratedSequence, SampledToken]]:
        """Generate one token for every sequence; return them.

        `select` returns the model with the adapter of the batch.
        """
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            return _count(arrived)
        launched = self._launched or self._launch(select)
        self._launched = self._launch(select) if self._may_overlap() else None
        tokens = launched.sampled.read()
        if launched.sampled.sampler.stale:
            self._forget_sampler()
        return _count(list(zip(launched.rows, tokens, strict=True)))

    def _launch(self, select: Callable[[], Any]) -> LaunchedStep:
        self.cache.make_room()
        if self._tokens is None:
            device = select().device
            self._tokens = upload([row.next_token for row in self.rows], torch.long, device)
        if self._sampler is None:
            samplers = [row.sampler for row in self.rows]
            self._sampler = BatchSampler(samplers, self._tokens.device)
        logits = self.cache.forward(select, self._tokens)
        sampled = self._sampler.sample(logits)
        self._tokens = sampled.tokens
        return LaunchedStep(tuple(self.rows), sampled)

    def _may_overlap(self) -> bool:
        """Return whether the next step can be computed before the tokens of this one are read."""
        if not self.overlap or self._sampler is None:
            return False
        unfinished = any(row.count + 1 < row.sampling.max_tokens for row in self.rows)
        return unfinished and self._sampler.resolves and self.cache.has_column()

    def _settle(self) -> None:
        """Read the tokens of a launched step, for the next `step`."""
        launched, self._launched = self._launched, None
        if launched is not None:
            tokens = launched.sampled.read()
            self._arrived = list(zip(launched.rows, tokens, strict=True))

    def _forget_sampler(self) -> None:
        self._sampler, self._tokens = None, None

    def pack(self) -> None:
        """Give back the cells of its cache that its rows do not need soon."""
        self._settle()  # the step in the queue uses the old tensors
        if isinstance(self.cache, SlotCache):
            self.cache.pack()

    def drop(self, row: GeneratedSequence) -> None:
        """Remove a sequence; the last one takes its row."""
        self._settle()
        index = next(index for index, other in enumerate(self.rows) if other is row)
        self.cache.leave(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()
        self._arrived = [pair for pair in self._arrived if pair[0] is not row]
        self._forget_sampler()


def _count(
    tokens: list[tuple[GeneratedSequence, SampledToken]],
) -> list[tuple[GeneratedSequence, SampledToken]]:
    """Make tokens the next inputs of their sequences; return them."""
    for row, sampled in tokens:
        row.next_token = sampled.token
        row.sampler.record(sampled.token)
    return tokens
