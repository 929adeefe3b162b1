"""Read log-probabilities off a model at the tokens that need them, and only there.

Shapes: L lines, T tokens of a line, M learned tokens, H hidden size, V vocabulary. `indices` point
into the flattened batch (L*T); the token at an index predicts the target.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.core.losses.chunked import at_least_float32, log_probs, smoothed
from swiftbox.core.losses.divergence import HeadInputs


@dataclass(frozen=True)
class LogProbReader:
    """Computes log-probabilities of targets from a model's output head.

    If the logits are a plain linear function of the hidden states, the product is computed in
    chunks outside the model. Otherwise (an adapter on the head, a bias, scaled or capped logits,
    sharded weights) the model's head computes the logits, for the given indices only.
    """

    linear_head: bool
    smoothing: float = 0.0
    """Share of each label that is spread evenly over the vocabulary."""

    def log_probs(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        indices: torch.Tensor,
        targets: torch.Tensor,
        *,
        uniform: bool = False,
    ) -> torch.Tensor:
        """Return the log-probability of each target; see chunked.log_probs.  # (M,)"""
        computed = self.head_inputs(model, inputs, indices)
        return self.log_probs_of(computed, targets, uniform=uniform)

    def head_inputs(
        self, model: Any, inputs: Mapping[str, Any], indices: torch.Tensor
    ) -> HeadInputs:
        """Return the hidden states at the indices with the head, or the logits."""
        if self.linear_head:
            hidden = hidden_at(model, inputs, indices)  # (M, H)
            return HeadInputs(hidden, output_head(model).weight)
        with head_at(output_head(model), indices):
            return HeadInputs(model(**inputs, use_cache=False).logits[0], None)  # (M, V)

    def log_probs_of(
        self, computed: HeadInputs, targets: torch.Tensor, *, uniform: bool = False
    ) -> torch.Tensor:
        """Return the log-probability of each target; see chunked.log_probs.  # (M,)"""
        values, head = computed.values, computed.head
        if head is not None:
            return log_probs(values, head, targets, uniform=uniform, smoothing=self.smoothing)
        logits = values.to(at_least_float32(values.dtype))
        chosen = logits.gather(1, targets[:, None])  # (M, 1)
        if self.smoothing:
            chosen = smoothed(chosen, logits, self.smoothing)
        return chosen[:, 0] - logits.logsumexp(dim=1)


def hidden_at(model: Any, inputs: Mapping[str, Any], indices: torch.Tensor) -> torch.Tensor:
    """Return the input of the head at the indices; the head gets an empty batch.  # (M, H)"""
    captured: list[torch.Tensor] = []

    def capture(head: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 - torch's
        hidden = arguments[0]  # (L, T, H)
        captured.append(hidden.flatten(0, 1)[indices])
        return (hidden[:1, :0], *arguments[1:])

    hook = output_head(model).register_forward_pre_hook(capture)
    try:
        model(**inputs, use_cache=False)
    finally:
        hook.remove()
    return captured[0]


@contextlib.contextmanager
def head_at(head: Any, indices: torch.Tensor) -> Iterator[None]:
    """Pass only the hidden states at the indices to a head, as a single line.

    `logits_to_keep` cannot do this: it selects the same positions in every line.
    """

    def select(head: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 - torch's
        hidden = arguments[0]  # (L, T, H)
        return (hidden.flatten(0, 1)[indices][None], *arguments[1:])  # (1, M, H)

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


def output_head(model: Any) -> Any:
    """Return the layer that computes logits, inside any wrappers of the model."""
    return unwrapped(model).get_output_embeddings()


def unwrapped(model: Any) -> Any:
    """Return the transformers model inside the wrappers of DDP, compilation and peft."""
    inner = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def reader_for(
    model: Any, dtype: torch.dtype = torch.float32, *, sharded: bool = False
) -> LogProbReader:
    """Test on two tokens whether the model's logits are a plain linear function of its head."""
    head = output_head(model)
    if sharded or type(head) is not torch.nn.Linear or head.bias is not None:
        return LogProbReader(linear_head=False)
    ids = torch.tensor([[1, 2]], device=head.weight.device)
    autocast = torch.autocast(ids.device.type, dtype, enabled=dtype != torch.float32)
    with autocast, _evaluation_mode(model):
        logits = model(input_ids=ids, use_cache=False).logits[0].float()  # (2, V)
        hidden = hidden_at(model, {"input_ids": ids}, torch.arange(2, device=ids.device))
        product = (hidden @ head.weight.to(hidden.dtype).T).float()
    close = (logits - product).abs().max() <= 1e-2 * logits.abs().max().clamp(min=1e-6)
    return LogProbReader(linear_head=bool(close))


@contextlib.contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
