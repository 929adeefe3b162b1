"""Attention within the rows of a joined line, without a mask of the line.

Shapes: T query tokens, S keys, H heads, G key and value heads, D head dimension, N rows. A row has
t queries and s >= t keys; its queries are the last t of its s tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from swiftbox.language import text
from swiftbox.runs.diagnosis import first_line


@dataclass(frozen=True)
class Rows:
    """Where the rows of a line begin and end, as the collator computed it."""

    query_starts: torch.Tensor
    """Start of each row among the queries, then their number.  # (N+1,) int32"""
    key_starts: torch.Tensor
    """The same among the keys.  # (N+1,) int32"""
    longest_query: int
    longest_key: int
    scale: float | None = None
    window: int | None = None
    """A token attends to that many tokens, itself included; None: to all before it."""
    causal: bool = True

    @property
    def bounds(self) -> tuple[int, int]:
        """Return how far a token attends to the left and to the right; -1: without limit."""
        if not self.causal:
            return (-1, -1)
        if self.window is None or self.window >= self.longest_key:
            return (-1, 0)
        return (self.window - 1, 0)


Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Rows], torch.Tensor]
"""Takes queries (T,H,D), keys (S,G,D), values (S,G,D) and their rows; returns (T,H,D)."""


def kernel_for(device: torch.device) -> Kernel:
    """Return the kernel of a device: torch's own, or a loop over the rows on a CPU."""
    return row_by_row if device.type == "cpu" else variable_length()


def row_by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows
) -> torch.Tensor:
    """Attend within one row after the other; exact in every number type.  # (T,H,D)

    On a CPU this is faster than one call with a mask, which computes what the mask hides.
    """
    lengths = rows.query_starts.diff().tolist()
    key_lengths = rows.key_starts.diff().tolist()
    parts = zip(query.split(lengths), key.split(key_lengths), value.split(key_lengths), strict=True)
    return torch.cat([_within_row(*part, rows) for part in parts])


def _within_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows
) -> torch.Tensor:
    """Attend within one row.  # (t,H,D), (s,G,D), (s,G,D) -> (t,H,D)"""
    count, keys = len(query), len(key)
    is_square = count == keys and (rows.window is None or rows.window >= keys)
    mask = None
    if rows.causal and not is_square:
        mask = last_rows_mask(count, keys, rows.window, query.device)
    output = scaled_dot_product_attention(
        query.transpose(0, 1)[None],  # (1,H,t,D)
        key.transpose(0, 1)[None],  # (1,G,s,D)
        value.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=rows.causal and is_square,
        scale=rows.scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output[0].transpose(0, 1)


def last_rows_mask(count: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Return the last `count` lines of the causal mask of `keys` tokens.  # (t,s) bool"""
    mask = torch.ones(count, keys, dtype=torch.bool, device=device).tril(keys - count)
    return mask if window is None else mask.triu(keys - count - window + 1)


def variable_length() -> Kernel:
    """Return torch's variable-length kernel, which computes in 16 bits.

    torch 2.13 wants to be asked for grouped heads, torch 2.11 has no such argument and groups them
    by itself: its signature is read once. Queries, keys and values must have the same dimension:
    narrower values are padded.
    """
    # Imported here: it loads torch's compiler, which takes a second and is for accelerators only.
    from torch.nn.attention.varlen import varlen_attn

    parameters = inspect.signature(varlen_attn).parameters
    grouped = {"enable_gqa": True} if "enable_gqa" in parameters else {}

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows
    ) -> torch.Tensor:
        dtype, width = number_type(value), value.shape[-1]
        if width < query.shape[-1]:
            value = pad(value, (0, query.shape[-1] - width))
        output = varlen_attn(
            query.to(dtype),
            key.to(dtype),
            value.to(dtype),
            rows.query_starts,
            rows.key_starts,
            rows.longest_query,
            rows.longest_key,
            scale=rows.scale,
            window_size=rows.bounds,
            **grouped,
        )
        result: torch.Tensor = output[..., :width]
        return result

    return attend


def number_type(value: torch.Tensor) -> torch.dtype:
    """Return the number type to attend in: that of autocast where it is on, else the values'."""
    if torch.is_autocast_enabled(value.device.type):
        return torch.get_autocast_dtype(value.device.type)
    return value.dtype


@dataclass(frozen=True)
class HeadShape:
    """The heads of a model's attention."""

    heads: int
    kv_heads: int
    width: int
    """D, the dimension of a head."""


def kernel_problem(heads: HeadShape, dtype: torch.dtype, device: torch.device) -> str:
    """Return why a device's kernel is not exact for these heads; empty if it is.

    Compares outputs and gradients with those of `row_by_row` in float32, for two rows and for one
    whose queries are only its last tokens.
    """
    if device.type == "cpu":
        return ""
    try:
        results = [
            _trial(heads, kernel, number, device)
            for kernel, number in ((kernel_for(device), dtype), (row_by_row, torch.float32))
        ]
    except (RuntimeError, ValueError, ImportError) as error:
        return first_line(error)
    for result, exact in zip(*results, strict=True):
        # 16-bit numbers round to 2**-8; a wrong mask moves a result by its own size.
        if not (result - exact).abs().max() <= 5e-2 * exact.abs().max():
            return text(
                "the device's variable-length kernel differs from exact attention",
                "该设备的变长注意力内核与精确结果不符",
            )
    return ""


def _trial(
    heads: HeadShape, kernel: Kernel, dtype: torch.dtype, device: torch.device
) -> list[torch.Tensor]:
    """Return a kernel's output and gradients for made-up rows, in float32."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((48, heads.heads), (64, heads.kv_heads), (64, heads.kv_heads))
    inputs = [
        torch.randn(tokens, count, heads.width, generator=generator)
        .to(device, dtype)
        .requires_grad_()
        for tokens, count in sizes
    ]  # (T,H,D), 2x (S,G,D)
    starts = ((0, 24, 40, 48), (0, 24, 40, 64))
    query_starts, key_starts = (
        torch.tensor(bounds, dtype=torch.int32, device=device) for bounds in starts
    )
    query, key, value = inputs
    output = kernel(query, key, value, Rows(query_starts, key_starts, 24, 24))
    upstream = torch.randn(output.shape, generator=generator).to(device, output.dtype)
    gradients = torch.autograd.grad(output, inputs, upstream)
    return [result.detach().float() for result in (output, *gradients)]
