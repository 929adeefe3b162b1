"""From logits to the next token of each sequence, the same whatever shares the batch.

Shapes: R rows, V vocabulary, K candidates that are looked at first.
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
"""The likeliest tokens hold nearly all the mass; the whole vocabulary is sorted only without it."""


@dataclass(frozen=True)
class Sampling:
    """How one sequence is written and where it ends."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end it: those of the model unless they are to be ignored, and one's own."""
    logprobs: int | None = None
    """How many alternatives to tell with each token; None: not even its own probability."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pick:
    """A token, its logarithmic probability, and the likeliest ones beside it."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Chooser:
    """What one sequence remembers between its tokens: its random numbers, what it has said."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], index: int) -> None:
        self.sampling = sampling
        seed = sampling.seed
        self.random = random.Random() if seed is None else random.Random(f"{seed}:{index}")
        self.said: Counter[int] = Counter()
        self.seen = set(prompt) if sampling.repetition_penalty != 1.0 else set()

    @property
    def adjusts(self) -> bool:
        """Tell whether logits are changed before a token is chosen."""
        one = self.sampling
        penalties = one.presence_penalty or one.frequency_penalty or one.logit_bias
        return bool(penalties) or one.repetition_penalty != 1.0

    def adjust(self, logits: torch.Tensor) -> None:
        """Change the logits (V,) in place by what was said before."""
        one = self.sampling
        if one.repetition_penalty != 1.0 and self.seen:
            ids = torch.tensor(sorted(self.seen), device=logits.device)
            values = logits[ids]
            penalty = one.repetition_penalty
            logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
        if self.said and (one.presence_penalty or one.frequency_penalty):
            ids = torch.tensor(list(self.said), device=logits.device)
            counts = torch.tensor(
                list(self.said.values()), device=logits.device, dtype=logits.dtype
            )
            logits[ids] -= one.frequency_penalty * counts + one.presence_penalty
        for token, bias in one.logit_bias.items():
            logits[token] += bias

    def note(self, token: int) -> None:
        """Remember a token that was written."""
        self.said[token] += 1
        if self.sampling.repetition_penalty != 1.0:
            self.seen.add(token)


def choose(logits: torch.Tensor, choosers: Sequence[Chooser]) -> list[Pick]:
    """Choose the next token of every row of logits (R, V)."""
    scores = logits.float()
    told = [row for row, one in enumerate(choosers) if one.sampling.logprobs is not None]
    logs = torch.log_softmax(scores[told], dim=-1) if told else scores
    if any(one.adjusts for one in choosers):
        scores = scores.clone()
        for row, one in enumerate(choosers):
            if one.adjusts:
                one.adjust(scores[row])
    tokens = scores.argmax(dim=-1).tolist()
    drawn = [row for row, one in enumerate(choosers) if one.sampling.temperature > 0]
    if drawn:
        found = _draw(scores[drawn], [choosers[row] for row in drawn])
        for row, token in zip(drawn, found, strict=True):
            tokens[row] = token
    picks = [Pick(token) for token in tokens]
    for at, row in enumerate(told):
        picks[row] = _told(tokens[row], logs[at], choosers[row].sampling.logprobs or 0)
    for one, token in zip(choosers, tokens, strict=True):
        one.note(token)
    return picks


def _told(token: int, logs: Any, count: int) -> Pick:
    top: tuple[tuple[int, float], ...] = ()
    if count:
        values, ids = logs.topk(min(count, logs.shape[0]))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return Pick(token, float(logs[token]), top)


def _draw(scores: torch.Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """Draw a token for each row by its own random number."""
    heats = torch.tensor([one.sampling.temperature for one in choosers], device=scores.device)
    masses = torch.softmax(scores / heats[:, None], dim=-1)  # (R, V)
    count = min(max(CANDIDATES, *(one.sampling.top_k for one in choosers)), masses.shape[1])
    values, ids = masses.topk(count)  # (R, K)
    likeliest = values.double().cpu().numpy()
    names = ids.cpu().numpy()
    tokens = []
    for row, one in enumerate(choosers):
        number = one.random.random()
        at = _place(likeliest[row], number, one.sampling, whole=count == masses.shape[1])
        if at is not None:
            tokens.append(int(names[row, at]))
            continue
        all_values, all_ids = masses[row].sort(descending=True, stable=True)
        at = _place(all_values.double().cpu().numpy(), number, one.sampling, whole=True)
        tokens.append(int(all_ids[at]))
    return tokens


def _place(masses: Any, number: float, sampling: Sampling, *, whole: bool) -> int | None:
    """Return where the number falls among masses that fall; None when more of them are needed."""
    if 0 < sampling.top_k <= len(masses):
        masses, whole = masses[: sampling.top_k], True
        masses = masses / masses.sum()
    if sampling.min_p > 0:
        kept = masses >= sampling.min_p * masses[0]
        if not whole and kept[-1]:
            return None
        if not kept[-1]:
            masses, whole = masses[kept], True
            masses = masses / masses.sum()
    sums = numpy.cumsum(masses)
    total = float(sums[-1]) if whole else 1.0
    if sampling.top_p < 1:
        last = int(numpy.searchsorted(sums, sampling.top_p * total))
        if last >= len(sums) and not whole:
            return None
        total = float(sums[min(last, len(sums) - 1)])
    at = int(numpy.searchsorted(sums, number * total, side="right"))
    if at >= len(sums):
        return len(sums) - 1 if whole else None
    return at
