"""NEFTune (arXiv:2310.05914): noise on the embeddings, scaled by the length of each row.

The implementation in transformers uses the length of the batch, which is wrong for joined and
padded rows.
Shapes: L lines, T tokens, H hidden.
"""

from __future__ import annotations

from typing import Any

import torch


def add_noise(network: Any, alpha: float) -> None:
    """Add uniform noise of magnitude alpha / sqrt(T H) in training mode."""
    lengths: list[torch.Tensor | None] = [None]

    def record_lengths(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        lengths[0] = row_lengths(inputs)

    def perturb(embeddings: Any, _arguments: Any, hidden: torch.Tensor) -> torch.Tensor:
        if not embeddings.training:
            return hidden
        tokens = lengths[0]  # (L, T)
        shape = hidden.shape[:-1]
        if tokens is None or tokens.shape != shape:
            tokens = torch.full(shape, hidden.shape[1], device=hidden.device)
        scale = alpha / (tokens * hidden.shape[-1]).sqrt()[..., None].to(hidden.dtype)  # (L, T, 1)
        return hidden + torch.empty_like(hidden).uniform_(-1, 1) * scale

    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    inner.register_forward_pre_hook(record_lengths, with_kwargs=True)
    inner.get_input_embeddings().register_forward_hook(perturb)


def row_lengths(inputs: dict[str, Any]) -> torch.Tensor | None:
    """Return the row length of every token; None if the batch does not define rows.  # (L, T)"""
    mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
    if mask is not None and mask.ndim == 2:
        return mask.sum(1, keepdim=True).expand_as(mask).clamp(min=1)
    if positions is None or positions.ndim != 2:
        return None
    starts = positions == 0
    rows = starts.flatten().cumsum(0) - 1  # (L T,)
    rows = rows.clamp(min=0)
    # At most a row per token: bincount would read their number back from the device.
    counts = torch.zeros_like(rows).scatter_add(0, rows, torch.ones_like(rows))  # (L T,)
    return counts[rows].view_as(positions)
