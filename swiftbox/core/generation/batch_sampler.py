"""Draw the next tokens of a batch on its device, without waiting for the device.

The settings of the rows are uploaded when the rows change. A step then only adds work to the
device's queue; to read its result is the single wait. Each row is computed by itself, so that its
token does not depend on what shares the batch.

Shapes: R rows, V vocabulary, K candidates that are sorted, S selected rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.core.generation.constraints import GrammarMasks
from swiftbox.core.generation.device_access import HostCopy, upload
from swiftbox.core.generation.penalties import Penalties
from swiftbox.core.generation.sampling import SampledToken, TokenSampler

CANDIDATES = 256
"""The likeliest tokens hold nearly all the mass; the whole vocabulary is sorted only if needed."""

NUMBERS_AHEAD = 32
"""Steps whose random numbers are uploaded together."""

UNRESOLVED = -1
"""In place of a token whose nucleus is larger than the candidates."""


@dataclass(frozen=True)
class Selection:
    """Some rows of a batch, and their settings as columns (S, 1)."""

    rows: torch.Tensor  # (S,)
    temperature: torch.Tensor
    top_p: torch.Tensor
    top_k: torch.Tensor
    min_p: torch.Tensor
    largest_k: int

    @classmethod
    def of(cls, samplers: Sequence[TokenSampler], rows: list[int], device: Any) -> Selection | None:
        """Select rows; None for no rows."""
        if not rows:
            return None
        settings = [samplers[row].sampling for row in rows]
        table = [[each.temperature, each.top_p, each.top_k, each.min_p] for each in settings]
        temperature, top_p, top_k, min_p = upload(table, torch.float32, device).split(1, dim=1)
        largest_k = max(each.top_k for each in settings)
        indices = upload(rows, torch.long, device)
        return cls(indices, temperature, top_p, top_k, min_p, largest_k)


class BatchSampler:
    """Samples the tokens of the same sequences, step after step."""

    def __init__(self, samplers: Sequence[TokenSampler], device: Any) -> None:
        self.samplers = tuple(samplers)
        self.device = device
        self.stale = False
        """The host corrected a token: the state on the device no longer holds."""
        hot = [row for row, each in enumerate(samplers) if each.sampling.temperature > 0]
        self.free = Selection.of(samplers, [row for row in hot if not samplers[row].sorts], device)
        self.sorted_rows = [row for row in hot if samplers[row].sorts]
        self.sorted = Selection.of(samplers, self.sorted_rows, device)
        self.reported_rows = [
            row for row, each in enumerate(samplers) if each.sampling.logprobs is not None
        ]
        self._penalties = Penalties.of(samplers, device)
        self._masks = GrammarMasks.of([each.constraint for each in samplers])
        self._first = [each.count for each in samplers]
        self._steps = 0
        self._numbers, self._numbers_start = torch.empty(0), -1
        self._reported = (
            upload(self.reported_rows, torch.long, device) if self.reported_rows else None
        )

    @property
    def resolves(self) -> bool:
        """Return whether every token is certain to be drawn on the device, without the host."""
        settings = [self.samplers[row].sampling for row in self.sorted_rows]
        return self._masks is None and all(0 < setting.top_k <= CANDIDATES for setting in settings)

    @property
    def alternatives(self) -> int:
        """Return how many alternatives are computed for each reported row."""
        return max(self.samplers[row].sampling.logprobs or 0 for row in self.reported_rows)

    def sample(self, logits: torch.Tensor) -> SampledBatch:
        """Sample the next token of every row of logits (R, V)."""
        scores = logits.float()
        reported = None
        if self._reported is not None:
            reported = torch.log_softmax(scores.index_select(0, self._reported), dim=-1)
        if self._penalties:
            scores = self._penalties.adjust(scores)
        if self._masks:
            scores = self._masks.apply(scores)
        tokens, masses = scores.argmax(dim=-1), None  # (R,)
        if self.free:
            drawn = draw_free(masses_of(scores, self.free), self.free, self._drawn(self.free))
            tokens = tokens.index_copy(0, self.free.rows, drawn)
        if self.sorted:
            masses = masses_of(scores, self.sorted)
            count = min(max(CANDIDATES, self.sorted.largest_k), masses.shape[1])
            drawn = draw_sorted(masses, self.sorted, self._drawn(self.sorted), count)
            tokens = tokens.index_copy(0, self.sorted.rows, drawn)
        if self._penalties:
            self._penalties.record(tokens)
        packed = tokens if reported is None else self._pack(tokens, reported)
        self._steps += 1
        return SampledBatch(self, tokens, HostCopy(packed), masses, self._steps - 1)

    def _pack(self, tokens: torch.Tensor, reported: torch.Tensor) -> torch.Tensor:
        """Return all that the host reads in one tensor of 32 bits; floats keep their bits."""
        assert self._reported is not None
        chosen = tokens.index_select(0, self._reported).clamp(min=0)
        values, ids = reported.topk(min(self.alternatives, reported.shape[1]))
        logprobs = torch.cat([reported.gather(1, chosen[:, None]), values], dim=1)
        return torch.cat([tokens.int(), ids.int().flatten(), logprobs.view(torch.int32).flatten()])

    def number(self, row: int, step: int) -> float:
        """Return the random number of a row in a step of this batch."""
        return self.samplers[row].number(self._first[row] + step)

    def _drawn(self, selection: Selection) -> torch.Tensor:
        """Return the random numbers (S, 1) of this step."""
        offset = self._steps % NUMBERS_AHEAD
        start = self._steps - offset
        if self._numbers_start != start:
            steps = range(start, start + NUMBERS_AHEAD)
            rows = range(len(self.samplers))
            numbers = [[self.number(row, step) for step in steps] for row in rows]
            self._numbers, self._numbers_start = upload(numbers, torch.float32, self.device), start
        return self._numbers[:, offset].index_select(0, selection.rows)[:, None]


@dataclass(frozen=True)
class SampledBatch:
    """The tokens of one step, on the device, and their copy to the host."""

    sampler: BatchSampler
    tokens: torch.Tensor  # (R,)
    copy: HostCopy
    masses: torch.Tensor | None  # (S, V), of the rows that are sorted
    step: int

    def read(self) -> list[SampledToken]:
        """Wait for the tokens and return them; their samplers do not know them yet."""
        sampler = self.sampler
        values = self.copy.read().numpy()
        rows, reported = len(sampler.samplers), sampler.reported_rows
        tokens = [int(token) for token in values[:rows]]
        self._resolve(tokens)
        sampled = [SampledToken(token) for token in tokens]
        if reported:
            count = (len(values) - rows - len(reported)) // (2 * len(reported))
            ids = values[rows : rows + len(reported) * count].reshape(len(reported), count)
            floats = values[rows + len(reported) * count :].view("float32")
            logprobs = floats.reshape(len(reported), count + 1)
            for position, row in enumerate(reported):
                own_count = sampler.samplers[row].sampling.logprobs or 0
                top = zip(ids[position].tolist(), logprobs[position, 1:].tolist(), strict=True)
                logprob = float(logprobs[position, 0])
                sampled[row] = SampledToken(tokens[row], logprob, tuple(top)[:own_count])
        return sampled

    def _resolve(self, tokens: list[int]) -> None:
        """Draw tokens whose nucleus is larger than the candidates, from the whole vocabulary."""
        for position, row in enumerate(self.sampler.sorted_rows):
            if tokens[row] != UNRESOLVED or self.masses is None:
                continue
            selection = Selection.of(self.sampler.samplers, [row], self.masses.device)
            assert selection is not None
            masses = self.masses[position : position + 1]
            number = upload([[self.sampler.number(row, self.step)]], torch.float32, masses.device)
            tokens[row] = int(draw_sorted(masses, selection, number, masses.shape[1]).item())
            self.sampler.stale = True


def masses_of(scores: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Return the probability masses (S, V) of the selected rows of scores (R, V)."""
    chosen = scores.index_select(0, selection.rows)
    return torch.softmax(chosen.div(selection.temperature), dim=-1)


def draw_free(masses: torch.Tensor, selection: Selection, numbers: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row of masses (S, V), which no top_k or top_p limits."""
    least = selection.min_p * masses.amax(dim=-1, keepdim=True)
    masses = torch.where(masses >= least, masses, 0.0)
    sums = masses.cumsum(dim=-1)
    return _first_beyond(sums, masses, numbers * sums[:, -1:])  # (S,)


def draw_sorted(
    masses: torch.Tensor, selection: Selection, numbers: torch.Tensor, count: int
) -> torch.Tensor:
    """Draw a token of each row of masses (S, V) from its `count` likeliest ones.

    UNRESOLVED stands for a token if these do not contain the nucleus, or all that min_p leaves.
    """
    values, ids = masses.topk(count)  # (S, K)
    positions = torch.arange(count, device=masses.device)  # (K,)
    allowed = (positions < selection.top_k) | (selection.top_k == 0)
    allowed &= values >= selection.min_p * values[:, :1]
    values = torch.where(allowed, values, 0.0)
    sums = values.cumsum(dim=-1)
    is_complete = (selection.top_k > 0) | ~allowed[:, -1:] | (count == masses.shape[1])  # (S, 1)
    total = torch.where(is_complete, sums[:, -1:], 1.0)
    last = (sums < selection.top_p * total).sum(dim=-1, keepdim=True)  # of the nucleus (S, 1)
    is_resolved = is_complete | ((last < count) & (selection.min_p == 0))
    last = last.clamp(max=count - 1)
    values = torch.where(positions <= last, values, 0.0)
    ranks = _first_beyond(sums, values, numbers * sums.gather(1, last))
    tokens = ids.gather(1, ranks[:, None])
    return torch.where(is_resolved, tokens, UNRESOLVED)[:, 0]


def _first_beyond(sums: torch.Tensor, masses: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the first index with a mass whose running sum exceeds the target (S, 1).

    Rounding of the target may leave none: then the likeliest index.
    """
    beyond = (sums > targets) & (masses > 0)
    first = beyond.int().argmax(dim=-1)
    return torch.where(beyond.any(dim=-1), first, masses.argmax(dim=-1))


def sample_tokens(logits: torch.Tensor, samplers: Sequence[TokenSampler]) -> list[SampledToken]:
    """Sample the next token of every row of logits (R, V), and wait for them."""
    return BatchSampler(samplers, logits.device).sample(logits).read()
