"""From logits to the next token of each sequence, independent of what shares the batch.

Shapes: R rows, V vocabulary, K candidates that are sorted first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

CANDIDATES = 256
"""The likeliest tokens hold nearly all the mass; the whole vocabulary is sorted only if needed."""


@dataclass(frozen=True)
class Sampling:
    """How one answer is sampled, and where it ends."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end the answer: the request's, and the model's unless they are ignored."""
    logprobs: int | None = None
    """Number of alternatives to report for each token; None: no log probabilities at all."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SampledToken:
    """A token, its log probability, and the likeliest alternatives."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class TokenSampler:
    """The state of one sequence's sampling: its random numbers, and the tokens it has seen."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], index: int) -> None:
        self.sampling = sampling
        seed = sampling.seed
        self.random = random.Random() if seed is None else random.Random(f"{seed}:{index}")
        self.generated: Counter[int] = Counter()
        self.seen = set(prompt) if sampling.repetition_penalty != 1.0 else set()

    @property
    def adjusts(self) -> bool:
        """Return whether logits are changed before a token is sampled."""
        sampling = self.sampling
        additive = sampling.presence_penalty or sampling.frequency_penalty or sampling.logit_bias
        return bool(additive) or sampling.repetition_penalty != 1.0

    def adjust(self, logits: torch.Tensor) -> None:
        """Apply penalties and biases to the logits (V,), in place."""
        sampling = self.sampling
        if sampling.repetition_penalty != 1.0 and self.seen:
            ids = torch.tensor(sorted(self.seen), device=logits.device)
            values = logits[ids]
            penalty = sampling.repetition_penalty
            logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
        if self.generated and (sampling.presence_penalty or sampling.frequency_penalty):
            ids = torch.tensor(list(self.generated), device=logits.device)
            counts = torch.tensor(
                list(self.generated.values()), device=logits.device, dtype=logits.dtype
            )
            logits[ids] -= sampling.frequency_penalty * counts + sampling.presence_penalty
        if sampling.logit_bias:
            ids = torch.tensor(list(sampling.logit_bias), device=logits.device)
            biases = list(sampling.logit_bias.values())
            logits[ids] += torch.tensor(biases, device=logits.device, dtype=logits.dtype)

    def record(self, token: int) -> None:
        """Remember a token that was generated."""
        self.generated[token] += 1
        if self.sampling.repetition_penalty != 1.0:
            self.seen.add(token)


def sample_tokens(logits: torch.Tensor, samplers: Sequence[TokenSampler]) -> list[SampledToken]:
    """Sample the next token of every row of logits (R, V)."""
    scores = logits.float()
    reported = [
        row for row, sampler in enumerate(samplers) if sampler.sampling.logprobs is not None
    ]
    logprobs = torch.log_softmax(scores[reported], dim=-1) if reported else scores
    if any(sampler.adjusts for sampler in samplers):
        scores = scores.clone()
        for row, sampler in enumerate(samplers):
            if sampler.adjusts:
                sampler.adjust(scores[row])
    tokens = scores.argmax(dim=-1).tolist()
    random_rows = [row for row, sampler in enumerate(samplers) if sampler.sampling.temperature > 0]
    if random_rows:
        drawn = _draw(scores[random_rows], [samplers[row] for row in random_rows])
        for row, token in zip(random_rows, drawn, strict=True):
            tokens[row] = token
    sampled = [SampledToken(token) for token in tokens]
    for position, row in enumerate(reported):
        count = samplers[row].sampling.logprobs or 0
        sampled[row] = _with_logprobs(tokens[row], logprobs[position], count)
    for sampler, token in zip(samplers, tokens, strict=True):
        sampler.record(token)
    return sampled


def _with_logprobs(token: int, logprobs: Any, count: int) -> SampledToken:
    top: tuple[tuple[int, float], ...] = ()
    if count:
        values, ids = logprobs.topk(min(count, logprobs.shape[0]))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return SampledToken(token, float(logprobs[token]), top)


def _draw(scores: torch.Tensor, samplers: Sequence[TokenSampler]) -> list[int]:
    """Draw a token for each row with the sequence's own random number."""
    temperatures = torch.tensor(
        [sampler.sampling.temperature for sampler in samplers], device=scores.device
    )
    masses = torch.softmax(scores / temperatures[:, None], dim=-1)  # (R, V)
    largest_k = max(sampler.sampling.top_k for sampler in samplers)
    count = min(max(CANDIDATES, largest_k), masses.shape[1])
    values, ids = masses.topk(count)  # (R, K)
    candidate_masses = values.double().cpu().numpy()
    candidate_ids = ids.cpu().numpy()
    tokens = []
    for row, sampler in enumerate(samplers):
        number = sampler.random.random()
        is_complete = count == masses.shape[1]
        rank = _rank(candidate_masses[row], number, sampler.sampling, complete=is_complete)
        if rank is not None:
            tokens.append(int(candidate_ids[row, rank]))
            continue
        all_masses, all_ids = masses[row].sort(descending=True, stable=True)
        all_masses = all_masses.double().cpu().numpy()
        tokens.append(int(all_ids[_rank(all_masses, number, sampler.sampling, complete=True)]))
    return tokens


def _rank(masses: Any, number: float, sampling: Sampling, *, complete: bool) -> int | None:
    """Return where a random number falls among descending masses; None if more are needed."""
    if 0 < sampling.top_k <= len(masses):
        masses, complete = masses[: sampling.top_k], True
        masses = masses / masses.sum()
    if sampling.min_p > 0:
        eligible = masses >= sampling.min_p * masses[0]
        if not complete and eligible[-1]:
            return None
        if not eligible[-1]:
            masses, complete = masses[eligible], True
            masses = masses / masses.sum()
    sums = numpy.cumsum(masses)
    total = float(sums[-1]) if complete else 1.0
    if sampling.top_p < 1:
        last = int(numpy.searchsorted(sums, sampling.top_p * total))
        if last >= len(sums) and not complete:
            return None
        total = float(sums[min(last, len(sums) - 1)])
    rank = int(numpy.searchsorted(sums, number * total, side="right"))
    if rank >= len(sums):
        return len(sums) - 1 if complete else None
    return rank
