"""NEFTune (arXiv:2310.05914): noise on the embeddings of every row, by the row's own length.

transformers' own takes the length of the batch, which is wrong for joined and padded rows.
Shapes: L lines, T tokens, H hidden.
"""

from __future__ import annotations

from typing import Any

import torch


def add_noise(network: Any, alpha: float) -> None:
    """Add uniform noise of magnitude alpha / sqrt(T H) while the network trains."""
    lengths: list[torch.Tensor | None] = [None]

    def look(_model: Any, _arguments: Any, named: dict[str, Any]) -> None:
        lengths[0] = row_lengths(named)

    def disturb(embeddings: Any, _arguments: Any, hidden: torch.Tensor) -> torch.Tensor:
        if not embeddings.training:
            return hidden
        known = lengths[0]
        shape = hidden.shape[:-1]
        if known is None or known.shape != shape:
            known = torch.full(shape, hidden.shape[1], device=hidden.device)
        reach = alpha / (known * hidden.shape[-1]).sqrt()[..., None].to(hidden.dtype)  # (L, T, 1)
        return hidden + torch.empty_like(hidden).uniform_(-1, 1) * reach

    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    inner.register_forward_pre_hook(look, with_kwargs=True)
    inner.get_input_embeddings().register_forward_hook(disturb)


def row_lengths(inputs: dict[str, Any]) -> torch.Tensor | None:
    """Return for every token the length of its row; None where the batch does not say.  # (L, T)"""
    mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
    if mask is not None and mask.ndim == 2:
        return mask.sum(1, keepdim=True).expand_as(mask).clamp(min=1)
    if positions is None or positions.ndim != 2:
        return None
    starts = positions == 0
    rows = starts.flatten().cumsum(0) - 1  # (L T,)
    counts = torch.bincount(rows.clamp(min=0))
    return counts[rows.clamp(min=0)].view_as(positions)
