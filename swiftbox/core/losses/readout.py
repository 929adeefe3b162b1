"""How log-probabilities are read off a model, where they are wanted and nowhere else.

Shapes: L lines, T tokens of a line, M places, H hidden size, V vocabulary. A place is the index of
a token in the flat batch (L*T); the token there predicts the target.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.core.losses.chunked import log_probs


@dataclass(frozen=True)
class Readout:
    """With a plain head its product with the hidden states is taken in chunks, outside the model.

    Any other head (an adapter on it, a bias, scaled or capped logits, sharded weights) is asked
    itself, for the places alone.
    """

    plain: bool

    def log_probs(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        places: torch.Tensor,
        targets: torch.Tensor,
        *,
        uniform: bool = False,
    ) -> torch.Tensor:
        """Return the log-probability of each target in float32; see chunked.log_probs.  # (M,)"""
        if self.plain:
            hidden = hidden_at(model, inputs, places)  # (M, H)
            return log_probs(hidden, output_head(model).weight, targets, uniform=uniform)
        with places_only(output_head(model), places):
            logits = model(**inputs, use_cache=False).logits[0].float()  # (M, V)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)


def hidden_at(model: Any, inputs: Mapping[str, Any], places: torch.Tensor) -> torch.Tensor:
    """Return what goes into the head at the places; the head itself gets nothing.  # (M, H)"""
    kept: list[torch.Tensor] = []

    def keep(head: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 - torch's
        hidden = arguments[0]  # (L, T, H)
        kept.append(hidden.flatten(0, 1)[places])
        return (hidden[:1, :0], *arguments[1:])

    hook = output_head(model).register_forward_pre_hook(keep)
    try:
        model(**inputs, use_cache=False)
    finally:
        hook.remove()
    return kept[0]


@contextlib.contextmanager
def places_only(head: Any, places: torch.Tensor) -> Iterator[None]:
    """Give a head only the hidden states of the places, as one line.

    A forward hook does it rather than `logits_to_keep`, which takes the same places of all lines.
    """

    def choose(head: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 - torch's
        hidden = arguments[0]  # (L, T, H)
        return (hidden.flatten(0, 1)[places][None], *arguments[1:])  # (1, M, H)

    hook = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()


def output_head(model: Any) -> Any:
    """Return the layer that makes logits, under whatever the model is wrapped in."""
    return unwrapped(model).get_output_embeddings()


def unwrapped(model: Any) -> Any:
    """Return the transformers model inside the wrappers of DDP, compilation and peft."""
    inner = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def readout_of(model: Any, dtype: torch.dtype = torch.float32, *, sharded: bool = False) -> Readout:
    """Find out on two tokens whether this very model's logits are its head's product alone."""
    head = output_head(model)
    if sharded or type(head) is not torch.nn.Linear or head.bias is not None:
        return Readout(plain=False)
    ids = torch.tensor([[1, 2]], device=head.weight.device)
    with torch.autocast(ids.device.type, dtype, enabled=dtype != torch.float32), _evaluating(model):
        logits = model(input_ids=ids, use_cache=False).logits[0].float()  # (2, V)
        hidden = hidden_at(model, {"input_ids": ids}, torch.arange(2, device=ids.device))
        product = (hidden @ head.weight.to(hidden.dtype).T).float()
    near = (logits - product).abs().max() <= 1e-2 * logits.abs().max().clamp(min=1e-6)
    return Readout(plain=bool(near))


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
