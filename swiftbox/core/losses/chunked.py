"""Log-probabilities of tokens without the logits of a whole batch: a linear head taken in chunks.

Shapes: M tokens, C tokens of a chunk, H hidden size, V vocabulary. The logits of a chunk (C, V)
are made, turned into probabilities in place and used at once, for the value and for the gradient;
the idea is that of Cut Your Losses (arXiv:2411.09009) and of Liger's fused linear cross-entropy
(arXiv:2410.10989), with the gradient per token, which preference losses weight differently.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_BYTES = {"cpu": 2**26}
"""Size of a chunk's float32 logits: on a CPU what its cache half holds."""

CHUNK_BYTES_ELSEWHERE = 2**28
"""On accelerators a chunk has to fill the device: 440 tokens of a vocabulary of 152 thousand."""


def log_probs(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, *, uniform: bool = False
) -> torch.Tensor:
    """Return the log-probability of each target in float32.  # (M,H), (V,H), (M,) -> (M,)

    With `uniform` the caller promises to use nothing but the sum: the gradient of a trained head
    is then made on the way, which saves making the logits a second time.
    """
    return _LogProbs.apply(hidden, weight, targets, uniform)


def chunk_tokens(vocabulary: int, device: str) -> int:
    """Return how many tokens a chunk has."""
    return max(16, CHUNK_BYTES.get(device, CHUNK_BYTES_ELSEWHERE) // (4 * vocabulary))


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        uniform: bool,
    ) -> torch.Tensor:
        with_hidden, with_weight = ctx.needs_input_grad[:2]
        head = weight.to(hidden.dtype)  # (V, H)
        found = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)  # (M,)
        now = uniform or not with_weight
        slope = torch.empty_like(hidden) if with_hidden and now else None  # (M, H)
        head_slope = None
        if with_weight and now:
            head_slope = torch.zeros_like(weight, dtype=torch.float32)  # (V, H)
        step = chunk_tokens(weight.shape[0], hidden.device.type)
        with torch.autocast(hidden.device.type, enabled=False):
            for at in range(0, len(targets), step):
                part = slice(at, at + step)
                probabilities, found[part] = _chunk(hidden[part], head, targets[part])  # (C, V)
                if slope is None and head_slope is None:
                    continue
                rise = _rise(probabilities, targets[part]).to(hidden.dtype)  # (C, V)
                if slope is not None:
                    slope[part] = rise @ head
                if head_slope is not None:
                    head_slope += rise.T @ hidden[part]
        ctx.now = now
        ctx.save_for_backward(*((slope, head_slope) if now else (hidden, weight, targets)))
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient = gradients[0]  # (M,)
        if ctx.now:
            slope, head_slope = ctx.saved_tensors
            for_hidden = None if slope is None else slope * gradient[:, None].to(slope.dtype)
            if head_slope is None:
                return for_hidden, None, None, None
            scale = gradient[0] if len(gradient) else gradient.sum()
            return for_hidden, head_slope * scale, None, None
        hidden, weight, targets = ctx.saved_tensors
        head = weight.to(hidden.dtype)
        for_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32)
        step = chunk_tokens(weight.shape[0], hidden.device.type)
        for at in range(0, len(targets), step):
            part = slice(at, at + step)
            probabilities, _ = _chunk(hidden[part], head, targets[part])
            rise = _rise(probabilities, targets[part]).mul_(gradient[part, None])
            rise = rise.to(hidden.dtype)  # (C, V)
            if for_hidden is not None:
                for_hidden[part] = rise @ head
            for_weight += rise.T @ hidden[part]
        return for_hidden, for_weight.to(weight.dtype), None, None


def _chunk(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probabilities of a chunk and the log-probabilities of its targets."""
    logits = (hidden @ head.T).float()  # (C, V)
    highest = logits.amax(dim=1, keepdim=True)  # (C, 1)
    logits.sub_(highest)
    wanted = logits.gather(1, targets[:, None])  # (C, 1)
    logits.exp_()
    total = logits.sum(dim=1, keepdim=True)  # (C, 1)
    return logits.div_(total), (wanted - total.log())[:, 0]


def _rise(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the slope of the targets' log-probabilities in the logits, in place.  # (C, V)"""
    rise = probabilities.neg_()
    rise[torch.arange(len(targets), device=targets.device), targets] += 1
    return rise
