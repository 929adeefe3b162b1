"""Encoding, collation, metrics and the likelihood term of methods that learn from pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.config.train import TrainConfig

METRICS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
"""Names of the metrics of the rewards of both answers."""


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Tokenize both conversations of every example; only the answers are scored.

    With train_on_prompt the likelihood term, if the loss has one, includes the prompt.
    """
    from swiftbox.core.data.encode import encode_pairs

    learns_prompt = config.train_on_prompt
    return list(encode_pairs(examples, tokenizer, config, learns_prompt=learns_prompt))


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Collate pairs into a batch, with their precomputed reference scores, if any."""
    import torch

    from swiftbox.core.losses.scoring import pair_batch

    pairs = [pair for unit in units for pair in unit]
    batch = pair_batch(pairs, layout)
    batch["margin"] = torch.tensor([pair.margin for pair in pairs])  # (B,)
    reference = [pair.reference for pair in pairs if pair.reference is not None]
    if len(reference) == len(pairs):
        batch["reference"] = torch.tensor(reference).T.flatten()  # (2B,), the chosen ones first
    return batch


def count(units: Sequence[Sequence[Any]]) -> int:
    """Count the pairs of units."""
    return sum(map(len, units))


def pairs_of(batch: Mapping[str, Any]) -> int:
    """Count the pairs of a batch."""
    return len(batch["margin"])


def reward_metrics(chosen: Any, rejected: Any) -> dict[str, Any]:
    """Return the sums of the metrics of the rewards of both answers.  # (B,), (B,)"""
    chosen, rejected = chosen.detach(), rejected.detach()
    return {
        "rewards/chosen": chosen.sum(),
        "rewards/rejected": rejected.sum(),
        "rewards/margins": (chosen - rejected).sum(),
        "rewards/accuracies": (chosen > rejected).sum(),
    }


def likelihood_loss(scores: Any, pairs: int) -> Any:
    """Return the mean cross-entropy of the chosen answers' tokens, times the number of pairs.

    The mean is over the tokens of the batch, as in TRL; with train_on_prompt it includes prompts.
    """
    nll = -scores.likelihood[:pairs].sum() / scores.learned[:pairs].sum()
    return nll * pairs
