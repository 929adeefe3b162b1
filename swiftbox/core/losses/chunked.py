"""Log-probabilities of tokens from a linear head in chunks, without the logits of the full batch.

Shapes: M tokens, C tokens of a chunk, H hidden size, V vocabulary. The logits of a chunk (C, V)
are computed, turned into probabilities in place and used at once for the value and the gradient,
as in Cut Your Losses (arXiv:2411.09009) and Liger's fused linear cross-entropy (arXiv:2410.10989).
The gradient is per token, because preference losses weight tokens differently.

Products are computed in the type that autocast would use, or else in that of the hidden states;
probabilities and the gradient of the head are summed in float32 or better.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_BYTES = {"cpu": 2**26}
"""Size of a chunk's float32 logits; on a CPU about half of the last-level cache."""

ACCELERATOR_CHUNK_BYTES = 2**28
"""Large enough to keep an accelerator busy: 440 tokens of a vocabulary of 152 thousand."""


def log_probs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    uniform: bool = False,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the log-probability of each target.  # (M,H), (V,H), (M,) -> (M,)

    The type is float32, or float64 for float64 hidden states. With `smoothing` it is the mean
    log-probability under a label of which that share is spread evenly over the vocabulary
    (arXiv:1512.00567).

    With `uniform` the caller promises to use only the sum. The gradient of a trained head is then
    computed in the forward pass, which saves computing the logits twice.
    """
    return _LogProbs.apply(hidden, weight, targets, (uniform, smoothing))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute probabilities in: float64 for float64, float32 otherwise."""
    return torch.promote_types(dtype, torch.float32)


def chunk_tokens(vocabulary: int, device: str) -> int:
    """Return the number of tokens in a chunk."""
    return max(16, CHUNK_BYTES.get(device, ACCELERATOR_CHUNK_BYTES) // (4 * vocabulary))


def product_dtype(hidden: torch.Tensor) -> torch.dtype:
    """Return the type of the head's product: autocast's where it is on, except for float64."""
    device = hidden.device.type
    if hidden.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return hidden.dtype
    return torch.get_autocast_dtype(device)


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        options: tuple[bool, float],
    ) -> torch.Tensor:
        uniform, smoothing = options
        with_hidden, with_weight = ctx.needs_input_grad[:2]
        ctx.dtypes, ctx.smoothing = (hidden.dtype, weight.dtype), smoothing
        hidden = hidden.to(product_dtype(hidden))  # (M, H)
        head = weight.to(hidden.dtype)  # (V, H)
        precision = at_least_float32(hidden.dtype)
        values = torch.empty(len(targets), dtype=precision, device=hidden.device)  # (M,)
        eager = uniform or not with_weight  # gradients in the forward pass
        hidden_gradient = torch.empty_like(hidden) if with_hidden and eager else None  # (M, H)
        weight_gradient = None
        if with_weight and eager:
            weight_gradient = torch.zeros_like(weight, dtype=precision)  # (V, H)
        step = chunk_tokens(weight.shape[0], hidden.device.type)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), step):
                part = slice(start, start + step)
                chunk = _chunk(hidden[part], head, targets[part], smoothing)
                probabilities, values[part] = chunk  # (C, V), (C,)
                if hidden_gradient is None and weight_gradient is None:
                    continue
                logit_gradient = _logit_gradient(probabilities, targets[part], smoothing)  # (C, V)
                logit_gradient = logit_gradient.to(hidden.dtype)
                if hidden_gradient is not None:
                    hidden_gradient[part] = logit_gradient @ head
                if weight_gradient is not None:
                    weight_gradient += logit_gradient.T @ hidden[part]
        ctx.eager = eager
        gradients = (hidden_gradient, weight_gradient)
        ctx.save_for_backward(*(gradients if eager else (hidden, weight, targets)))
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient = gradients[0]  # (M,)
        hidden_dtype, weight_dtype = ctx.dtypes
        if ctx.eager:
            hidden_gradient, weight_gradient = ctx.saved_tensors
            if hidden_gradient is not None:  # the factor is not rounded to 16 bits
                hidden_gradient = (hidden_gradient * gradient[:, None]).to(hidden_dtype)
            if weight_gradient is None:
                return hidden_gradient, None, None, None
            scale = gradient[0] if len(gradient) else gradient.sum()
            return hidden_gradient, (weight_gradient * scale).to(weight_dtype), None, None
        hidden, weight, targets = ctx.saved_tensors
        precision = at_least_float32(hidden.dtype)
        head = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_gradient = torch.zeros_like(weight, dtype=precision)
        step = chunk_tokens(weight.shape[0], hidden.device.type)
        for start in range(0, len(targets), step):
            part = slice(start, start + step)
            probabilities, _ = _chunk(hidden[part], head, targets[part], ctx.smoothing)
            logit_gradient = _logit_gradient(probabilities, targets[part], ctx.smoothing)  # (C, V)
            logit_gradient = logit_gradient.mul_(gradient[part, None]).to(hidden.dtype)
            if hidden_gradient is not None:
                hidden_gradient[part] = logit_gradient @ head
            weight_gradient += logit_gradient.T @ hidden[part]
        if hidden_gradient is not None:
            hidden_gradient = hidden_gradient.to(hidden_dtype)
        return hidden_gradient, weight_gradient.to(weight_dtype), None, None


def _chunk(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probabilities of a chunk and the log-probabilities of its labels."""
    logits = (hidden @ head.T).to(at_least_float32(hidden.dtype))  # (C, V)
    highest = logits.amax(dim=1, keepdim=True)  # (C, 1)
    logits.sub_(highest)
    target_logits = logits.gather(1, targets[:, None])  # (C, 1)
    if smoothing:
        target_logits = smoothed(target_logits, logits, smoothing)
    logits.exp_()
    total = logits.sum(dim=1, keepdim=True)  # (C, 1)
    return logits.div_(total), (target_logits - total.log())[:, 0]


def smoothed(values: torch.Tensor, all_values: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mix the values of targets with the mean over the vocabulary.  # (C, 1), (C, V) -> (C, 1)"""
    return (1 - smoothing) * values + smoothing * all_values.mean(dim=1, keepdim=True)


def _logit_gradient(
    probabilities: torch.Tensor, targets: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Return the gradient of the labels' log-probabilities by logits, in place.  # (C, V)"""
    logit_gradient = probabilities.neg_()
    if smoothing:
        logit_gradient += smoothing / logit_gradient.shape[1]
    rows = torch.arange(len(targets), device=targets.device)
    logit_gradient[rows, targets] += 1 - smoothing
    return logit_gradient
