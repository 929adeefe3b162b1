"""Attention variants: kernels alone, and in a model, for joined rows and shared prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from gpu.figures import Recorder
from gpu.settings import Settings
from gpu.steps import Steps
from gpu.timing import free_memory, growth_bytes, milliseconds

ROWS = (1000, 24, 500, 1500, 700, 324, 2048, 2096)
"""Rows of a joined line of 8,192 tokens."""

HEADS, KEY_HEADS, WIDTH = 32, 8, 128
FAST_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def measure(recorder: Recorder, settings: Settings) -> None:
    """Record the kernels, then the variants in a model."""
    for length in (128,) if settings.tiny else (2048, 8192):
        record_fused(recorder, settings, length)
    record_varlen(recorder, settings)
    record_in_model(recorder, settings)


def heads(settings: Settings, tokens: int, counts: Sequence[int]) -> list[torch.Tensor]:
    """Return random tensors of (tokens, heads, width) that need gradients."""
    torch.manual_seed(0)
    dtype = getattr(torch, settings.dtype)
    return [
        torch.randn(tokens, count, WIDTH, device=settings.device, dtype=dtype).requires_grad_()
        for count in counts
    ]


def document_mask(bounds: Sequence[int], device: str) -> torch.Tensor:
    """Return the causal mask of joined rows.  # (1, 1, T, T)"""
    lengths = torch.tensor(bounds, device=device)
    document = torch.repeat_interleave(torch.arange(len(bounds), device=device), lengths)
    return (document[:, None] == document[None, :]).tril()[None, None]


def record_fused(recorder: Recorder, settings: Settings, length: int) -> None:
    """Record causal attention, attention with a mask, and both with cuDNN first."""
    query, key, value = (
        part.transpose(0, 1)[None].detach().requires_grad_()
        for part in heads(settings, length, (HEADS, KEY_HEADS, KEY_HEADS))
    )
    mask = document_mask([length // 4] * 4, settings.device)

    def attend(mask: torch.Tensor | None, *, first: bool) -> None:
        order = sdpa_kernel(FAST_FIRST, set_priority=True) if first else nullcontext()
        # As transformers does: with a mask, keys and values are repeated for their group of heads.
        parts = (key, value) if mask is None else (grouped(key), grouped(value))
        with order:
            output = scaled_dot_product_attention(
                query, *parts, attn_mask=mask, is_causal=mask is None, enable_gqa=mask is None
            )
            output.sum().backward()

    orders = (False, True) if settings.device == "cuda" else (False,)
    for name, chosen in (("causal", None), ("mask of joined rows", mask)):
        for first in orders:
            label = f"sdpa {name}, {length:,} tokens{', cuDNN first' if first else ''}"
            work = _bound(attend, chosen, first)
            recorder.record(label, milliseconds(work, settings.device), "ms", check=7)
        growth = growth_bytes(_bound(attend, chosen, False), settings.device)
        recorder.record(f"sdpa {name}, {length:,} tokens, memory", growth / 2**20, "MiB", check=7)


def grouped(part: torch.Tensor) -> torch.Tensor:
    """Repeat keys or values for the query heads of their group."""
    return part.repeat_interleave(HEADS // KEY_HEADS, 1)


def _bound(attend: Callable[..., None], mask: torch.Tensor | None, first: bool) -> Any:
    return lambda: attend(mask, first=first)


def row_bounds(lengths: Sequence[int], device: str) -> Any:
    """Return the bounds of joined rows as our kernels take them."""
    from swiftbox.core.attention.kernels import Rows

    starts = torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)
    return Rows(starts, starts, max(lengths), max(lengths))


def record_varlen(recorder: Recorder, settings: Settings) -> None:
    """Record the variable-length kernel and its distance from exact attention."""
    from swiftbox.core.attention.kernels import kernel_for, row_by_row

    lengths = [40, 9, 30] if settings.tiny else list(ROWS)
    rows = row_bounds(lengths, settings.device)
    inputs = heads(settings, sum(lengths), (HEADS, KEY_HEADS, KEY_HEADS))
    kernel = kernel_for(torch.device(settings.device))

    def run() -> None:
        kernel(*inputs, rows).float().pow(2).sum().backward()

    run()
    gradients = [part.grad.float().clone() for part in inputs if part.grad is not None]
    exact = [part.detach().float().requires_grad_() for part in inputs]
    row_by_row(*exact, rows).pow(2).sum().backward()
    error = max(
        float((gradient - part.grad).norm() / part.grad.norm())
        for gradient, part in zip(gradients, exact, strict=True)
        if part.grad is not None
    )
    recorder.record("varlen, relative error of gradients", error, target="<= 0.02", check=8)
    recorder.record(
        "varlen, forward and backward", milliseconds(run, settings.device), "ms", check=8
    )
    growth = growth_bytes(run, settings.device)
    recorder.record("varlen, memory", growth / 2**20, "MiB", check=8)


def record_in_model(recorder: Recorder, settings: Settings) -> None:
    """Record a step on joined rows with each attention, and its distance from the mask."""
    from swiftbox.core.attention.varlen import use_varlen
    from swiftbox.core.data.batches import ONE_LINE

    lengths = [40, 9, 30] if settings.tiny else list(ROWS)
    steps = Steps("0.6B", settings)
    steps.step(steps.batch(lengths, ONE_LINE))
    exact = steps.gradient()
    for name in ("mask", "varlen", "flash_attention_2", "flash_attention_3"):
        steps.model.zero_grad()
        reason = "" if name == "mask" else switch(steps, name, use_varlen)
        if reason:
            recorder.record(f"0.6B step, joined rows, {name}", None, "ms", note=reason)
            continue
        batch = steps.batch(lengths, ONE_LINE)
        steps.step(batch)
        error = float((steps.gradient() - exact).norm() / exact.norm())
        work = milliseconds(lambda batch=batch: steps.step(batch), settings.device, runs=3)
        growth = growth_bytes(lambda batch=batch: steps.step(batch), settings.device)
        recorder.record(f"0.6B step, joined rows, {name}", work, "ms", check=9)
        recorder.record(f"0.6B step, joined rows, {name}, memory", growth / 2**20, "MiB", check=9)
        recorder.record(
            f"0.6B step, joined rows, {name}, gradient", error, target="<= 0.02", check=9
        )
    free_memory(settings.device)


def switch(steps: Steps, name: str, use_varlen: Callable[..., str]) -> str:
    """Switch the attention of a model; return why not, empty if done."""
    device = torch.device(steps.settings.device)
    if name == "varlen":
        return use_varlen(steps.model, steps.dtype, device)
    if device.type == "cpu":
        return "no flash attention on a CPU"
    try:
        steps.model.get_base_model().set_attn_implementation(name)
    except (ImportError, ValueError, OSError) as error:
        return str(error).splitlines()[0][:100]
    return ""
