"""What all methods that learn from pairs of answers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.config.train import TrainConfig


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Tokenize both conversations of every example; only the answers are scored.

    With train_on_prompt a likelihood term beside the preference covers the prompt too.
    """
    from swiftbox.core.data.encode import encode_pairs

    return list(encode_pairs(examples, tokenizer, learns_prompt=config.train_on_prompt))


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Join pairs to a batch; what was precomputed of them goes along."""
    import torch

    from swiftbox.core.losses.scoring import pair_batch

    pairs = [pair for unit in units for pair in unit]
    batch = pair_batch(pairs, layout)
    batch["margin"] = torch.tensor([one.margin for one in pairs])  # (B,)
    known = [one.reference for one in pairs if one.reference is not None]
    if len(known) == len(pairs):
        batch["reference"] = torch.tensor(known).T.flatten()  # (2B,), the chosen ones first
    return batch


def count(batch: Mapping[str, Any]) -> int:
    """Count the pairs of a batch."""
    return len(batch["margin"])


def watched(chosen: Any, rejected: Any) -> dict[str, Any]:
    """Return the sums worth watching of the rewards of both answers.  # (B,), (B,)"""
    chosen, rejected = chosen.detach(), rejected.detach()
    return {
        "rewards/chosen": chosen.sum(),
        "rewards/rejected": rejected.sum(),
        "rewards/margins": (chosen - rejected).sum(),
        "rewards/accuracies": (chosen > rejected).sum(),
    }


def likelihood_loss(scores: Any, pairs: int) -> Any:
    """Return the cross-entropy per token of the batch's chosen answers, once for every pair.

    The mean is over the tokens of the batch, as in TRL; with train_on_prompt the prompt counts.
    """
    nll = -scores.likelihood[:pairs].sum() / scores.learned[:pairs].sum()
    return nll * pairs
