"""What a training method gives the trainer: its options, and how rows become a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.core.losses.terms import Context, Terms

SMALL, LARGE = 1.5e9, 3.0e10
"""Parameters below which models bear larger steps, and above which they want smaller ones."""


@dataclass(frozen=True)
class Method:
    """One training method.

    `encode(examples, tokenizer, config)` gives samples of tokens;
    `collate(units, layout)` joins units of one or more samples to a batch of tensors;
    `loss(model, batch, context)` gives the Terms of a batch;
    `count(batch)` gives their number before the loss is known.
    an online method has `judges(config)` instead of the last three.
    Heavy modules are imported inside the functions.
    """

    name: str
    config: type[TrainConfig]
    chats: bool
    """Whether rows are conversations, which need a chat template."""
    encode: Callable[..., list[Any]]
    collate: Callable[[Sequence[Any], str], dict[str, Any]] | None = None
    loss: Callable[[Any, dict[str, Any], Context], Terms] | None = None
    count: Callable[[Mapping[str, Any]], int] | None = None
    shares: bool = False
    """Whether a sample has two answers to one prompt, which can be computed once."""
    reference: Literal["none", "fixed", "by batch"] = "none"
    """Whether the loss looks at a reference policy; `fixed` log-probabilities are each row's own
    and can be precomputed, those `by batch` depend on the rows beside it."""
    head: Literal["language", "score"] = "language"
    rates: tuple[float, float] = (1.0e-4, 1.0e-5)
    """Usual learning rates for models of some billions of parameters: of adapters, of weights."""
    judges: Callable[[Any], list[Any]] | None = None
    """Gives the reward functions of an online method: the model's own answers are what it learns
    from, made and weighed by an engine that brings its own loss."""

    def learning_rate(self, tuner_type: str, parameters: float | None = None) -> float:
        """Return the usual peak learning rate for a tuner; small models take more, large less.

        `parameters` is their number; None: of some billions.
        """
        rate = self.rates[tuner_type in WHOLE]
        if parameters is None:
            return rate
        if parameters < SMALL:
            return 2 * rate
        return rate / 2 if parameters > LARGE else rate
