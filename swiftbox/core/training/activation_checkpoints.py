"""Recompute activations in the backward pass: all of a layer's, or only the cheap ones.

Selective checkpoints (arXiv:2205.05198) keep the results of attention and of the products that are
not wider than their input. Their cost per byte is the highest: a product with K inputs per output
costs K multiplications for each number that is kept, attention as many as the row has tokens. The
wide results of an MLP, two thirds of a layer's memory, and everything elementwise are recomputed.
Recomputed values are the same ones, so gradients are too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from swiftbox.core.losses.log_prob_reader import unwrapped

PRODUCTS = frozenset(
    {
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.baddbmm.default,
    }
)
"""Each takes the two factors as its last arguments."""


def checkpoint_activations(network: Any, mode: str) -> None:
    """Make the blocks of a network recompute activations: mode `true`, `selective` or `false`."""
    if mode == "false":
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if mode == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, keep_costly)
    unwrapped(network).activation_checkpointing_enable(activation_checkpointing_kwargs=options)


def keep_costly(_context: Any, operator: Any, *arguments: Any, **_: Any) -> CheckpointPolicy:
    """Decide whether the result of an operator inside a block is kept."""
    if operator in PRODUCTS:
        left, right = arguments[-2:]  # (..., N, K), (..., K, M)
        is_kept = right.shape[-1] <= left.shape[-1]
    else:
        is_kept = _is_attention(operator.name())
    return CheckpointPolicy.MUST_SAVE if is_kept else CheckpointPolicy.PREFER_RECOMPUTE


def _is_attention(name: str) -> bool:
    """Tell the fused kernels by their names, such as aten::_scaled_dot_product_flash_attention."""
    return "attention" in name or "attn" in name
