"""flex_attention over the tree of a pair: prompt, first and second answer; without repeated keys.

Only measured: it tells whether the product should use it. T: tokens of the line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.attention.flex_attention import (
    BlockMask,
    create_block_mask,
    create_mask,
    flex_attention,
)
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

FLEX = "bench_flex"
"""The name among transformers' attention functions, which make no mask for it."""

TOLERANCE = 1e-4
"""Of the largest output, in float32."""


def use_flex(model: Any, device: str) -> None:
    """Switch a model to flex_attention, compiled; on a CPU, to a mask that stands for it."""
    kernel = on_cpu if device == "cpu" else torch.compile(flex_attention, dynamic=False)
    AttentionInterface.register(FLEX, partial(attend, kernel))
    model.get_base_model().set_attn_implementation(FLEX)


def on_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    block_mask: BlockMask,
    **options: Any,
) -> torch.Tensor:
    """Attend with the mask that the blocks stand for: flex_attention has no gradients on a CPU.

    Raises ValueError if its forward pass, which a CPU has, differs.
    """
    total = query.shape[2]
    mask = create_mask(block_mask.mask_mod, None, None, total, total, device="cpu")
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)
    detached = (part.detach() for part in (query, key, value))
    error = (flex_attention(*detached, block_mask=block_mask, **options) - attended.detach()).abs()
    if float(error.max()) > TOLERANCE * float(attended.detach().abs().max()):
        raise ValueError(f"flex_attention differs from its mask by {float(error.max()):.2g}")
    return attended


def attend(
    kernel: Callable[..., torch.Tensor],
    module: Any,
    query: torch.Tensor,
    *others: Any,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend along the tree; the signature is that of transformers after the kernel."""
    del module
    key, value, mask = others
    query, key = query.to(value.dtype), key.to(value.dtype)
    attended = kernel(
        query, key, value, block_mask=mask, scale=options.get("scaling"), enable_gqa=True
    )
    return attended.transpose(1, 2).contiguous(), None  # (1, T, H, D)


def tree_block_mask(pairs: Sequence[Any], device: str) -> Any:
    """Return the blocks of a line of pairs: a token sees earlier ones of its branch and prompt."""
    pair_numbers, branches = [], []
    for number, pair in enumerate(pairs):
        lengths = (pair.shared, len(pair.chosen) - pair.shared, len(pair.rejected) - pair.shared)
        for branch, length in enumerate(lengths):
            pair_numbers.append(torch.full((length,), number))
            branches.append(torch.full((length,), branch))
    group, branch_of = (torch.cat(parts).to(device) for parts in (pair_numbers, branches))  # (T,)

    def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
        del batch, head
        on_branch = (branch_of[key] == 0) | (branch_of[key] == branch_of[query])
        return (key <= query) & (group[key] == group[query]) & on_branch

    total = len(group)
    return create_block_mask(sees, None, None, total, total, device=device)
