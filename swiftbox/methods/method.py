"""A training method: its options, and how it turns examples into a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.core.losses.terms import LossContext, LossTerms

SMALL, LARGE = 1.5e9, 3.0e10
"""Numbers of parameters below which learning rates are doubled, and above which halved."""


def independent_rows(config: Any) -> bool:  # noqa: ARG001 - the signature of couples_rows
    """Return False: the loss of a row is the same in any batch."""
    return False


@dataclass(frozen=True)
class Method:
    """One training method.

    `encode(examples, tokenizer, config)` returns a core.data.encode.EncodedExample for each;
    `collate(units, layout)` collates units of one or more samples into a batch of tensors; that of
    a classifier also takes its `classes`;
    `loss(model, batch, context)` returns the LossTerms of a batch;
    `count(units)` returns the number of terms of their loss, before they are collated;
    `couples_rows(config)` returns whether the loss of a row depends on the others of its batch.
    An online method has `reward_functions(config)` instead of `collate`, `loss` and `count`.
    Heavy modules are imported inside the functions.
    """

    name: str
    config: type[TrainConfig]
    needs_template: bool
    """Whether rows are conversations, which need a chat template."""
    encode: Callable[..., list[Any]]
    collate: Callable[..., dict[str, Any]] | None = None
    loss: Callable[[Any, dict[str, Any], LossContext], LossTerms] | None = None
    count: Callable[[Sequence[Sequence[Any]]], int] | None = None
    splits_texts: bool = False
    """Whether encoding splits texts that are longer than max_length."""
    shares_prompts: bool = False
    """Whether a sample is a pair of answers to a prompt, which can be computed once."""
    reference: Literal["none", "fixed", "by batch"] = "none"
    """How the loss uses a reference policy. `fixed`: log-probabilities of each row, which can be
    precomputed; `by batch`: they also depend on the other rows of the batch."""
    head: Literal["language", "score"] = "language"
    learning_rates: tuple[float, float] = (1.0e-4, 1.0e-5)
    """Usual peak learning rates of adapters and of full weights, for models of 1.5 to 30 billion
    parameters."""
    measure: Callable[[Any, Any, Any], dict[str, float]] | None = None
    """Returns metrics of all held-out rows, from the outputs of their LossTerms and the config."""
    metrics: tuple[str, ...] = ()
    """What is measured on held-out rows besides the loss."""
    metrics_of: Callable[[Any], tuple[str, ...]] | None = None
    """Returns them for a config, where they depend on it."""
    couples_rows: Callable[[Any], bool] = independent_rows
    reward_functions: Callable[[Any], list[Any]] | None = None
    """Returns the reward functions of an online method, which learns from the model's own answers;
    TRL generates them and computes the loss."""

    def measured(self, config: Any) -> tuple[str, ...]:
        """Return what a training measures on held-out rows besides the loss."""
        return self.metrics if self.metrics_of is None else self.metrics_of(config)

    def learning_rate(self, tuner_type: str, parameters: float | None = None) -> float:
        """Return the usual peak learning rate of a tuner, higher for small models, lower for large.

        `parameters` is the number of parameters; None: between SMALL and LARGE.
        """
        rate = self.learning_rates[tuner_type in FULL_TUNERS]
        if parameters is None:
            return rate
        if parameters < SMALL:
            return 2 * rate
        return rate / 2 if parameters > LARGE else rate
