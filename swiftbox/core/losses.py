"""Losses over batches of either layout. Shapes: L lines, T tokens, M learned, V vocabulary."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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

    In a joined batch the head is computed only where a token is learned.
    """
    labels = batch["labels"]  # (L, T)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    learned = labels[:, 1:] != IGNORED  # (L, T-1)
    targets = labels[:, 1:][learned]  # (M,)
    if "attention_mask" in batch:
        logits = model(**inputs, use_cache=False).logits[:, :-1][learned]  # (M, V)
    else:
        places = torch.nn.functional.pad(learned, (0, 1))  # (L, T)
        with head_only_at(model, places):
            logits = model(**inputs, use_cache=False).logits[0]  # (M, V)
    return cross_entropy(logits.float(), targets, reduction="none")


@contextlib.contextmanager
def head_only_at(model: Any, places: torch.Tensor) -> Iterator[None]:
    """Give the output head only the hidden states of the places marked.  # (L, T) bool

    A forward hook does it rather than `logits_to_keep`, which takes the same places of all lines.
    """

    def choose(head: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 - torch's
        hidden = arguments[0]  # (L, T, H)
        return (hidden[places][None], *arguments[1:])  # (1, M, H)

    hook = output_head(model).register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()


def output_head(model: Any) -> Any:
    """Return the layer that makes logits, under whatever the model is wrapped in."""
    inner = getattr(model, "module", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return inner.get_output_embeddings()
