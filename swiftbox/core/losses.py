"""Losses over batches of either layout. Shapes: B rows, T tokens, M learned, V vocabulary."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from swiftbox.core.encoding import IGNORED


def next_token_loss(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed cross-entropy in nats, and the number of learned tokens."""
    terms = next_token_losses(model, batch)
    return terms.sum(), torch.tensor(terms.numel(), device=terms.device)


def next_token_losses(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Return the cross-entropy of every learned token, in the order of the batch.  # (M,)

    In a flat batch the head is computed only where a token is learned.
    """
    labels = batch["labels"]
    if "keep" in batch:
        keep = batch["keep"]  # (M,)
        inputs = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"]}
        if takes_logits_to_keep(model):
            logits = model(**inputs, use_cache=False, logits_to_keep=keep).logits[0]  # (M, V)
        else:
            logits = model(**inputs, use_cache=False).logits[0, keep]  # (M, V)
        targets = labels[0, keep + 1]  # (M,)
    else:
        mask = batch["attention_mask"]
        logits = model(input_ids=batch["input_ids"], attention_mask=mask, use_cache=False).logits
        learned = labels[:, 1:] != IGNORED  # (B, T-1)
        logits = logits[:, :-1][learned]  # (M, V)
        targets = labels[:, 1:][learned]  # (M,)
    return cross_entropy(logits.float(), targets, reduction="none")


def takes_logits_to_keep(model: Any) -> bool:
    """Tell whether the model can be asked for the logits of chosen places only."""
    inner = getattr(model, "module", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return "logits_to_keep" in inspect.signature(type(inner).forward).parameters
