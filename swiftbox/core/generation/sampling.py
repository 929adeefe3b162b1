"""How each sequence is sampled: its settings, random numbers, and the tokens it has seen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports torch, which who only refuses requests does not need
    from swiftbox.core.generation.constraints import Grammar


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
    visible: frozenset[int] = frozenset()
    """Special tokens that stay in the text, as marks of tool calls."""
    logprobs: int | None = None
    """Number of alternatives to report for each token; None: no log probabilities at all."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: Grammar | None = None
    """What the answer must follow."""


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
        self._random = random.Random() if seed is None else random.Random(f"{seed}:{index}")
        self._numbers: list[float] = []
        self.count = 0
        """Tokens that were generated."""
        self.generated: Counter[int] = Counter()
        self.seen = set(prompt) if sampling.repetition_penalty != 1.0 else set()
        self.constraint = None if sampling.grammar is None else sampling.grammar.start()

    @property
    def adjusts(self) -> bool:
        """Return whether logits are changed before a token is sampled."""
        sampling = self.sampling
        additive = sampling.presence_penalty or sampling.frequency_penalty or sampling.logit_bias
        return bool(additive) or sampling.repetition_penalty != 1.0

    @property
    def sorts(self) -> bool:
        """Return whether tokens must be sorted by their mass to draw one."""
        return self.sampling.top_p < 1 or self.sampling.top_k > 0

    def number(self, position: int) -> float:
        """Return the random number of the token at a position of the answer.

        A step that is repeated, such as after a preemption, thus draws the same token.
        """
        while len(self._numbers) <= position:
            self._numbers.append(self._random.random())
        return self._numbers[position]

    def record(self, token: int) -> None:
        """Remember a token that was generated."""
        self.count += 1
        self.generated[token] += 1
        if self.constraint is not None:
            self.constraint.add(token)
        if self.sampling.repetition_penalty != 1.0:
            self.seen.add(token)
