"""bitsandbytes' NF4 kernels against 16-bit products, and what a quantized base costs."""

from __future__ import annotations

import torch

from gpu.figures import Recorder
from gpu.settings import Settings
from gpu.timing import milliseconds

TOKENS = (1, 16, 512, 4096)
"""One and sixteen are served answers, the others are trained batches."""


def measure(recorder: Recorder, settings: Settings) -> None:
    """Record the time of NF4 products over that of 16-bit ones, forward and backward."""
    from bitsandbytes import functional
    from bitsandbytes.nn import Linear4bit

    width, dtype = (256 if settings.tiny else 4096), getattr(torch, settings.dtype)
    torch.manual_seed(0)
    plain = torch.nn.Linear(width, width, bias=False, device=settings.device, dtype=dtype)
    plain.requires_grad_(False)
    quantized = Linear4bit(width, width, bias=False, compute_dtype=dtype, quant_type="nf4")
    quantized.weight.data = plain.weight.data.clone()
    quantized = quantized.to(settings.device)
    for tokens in TOKENS[: 2 if settings.tiny else None]:
        inputs = torch.randn(tokens, width, device=settings.device, dtype=dtype)

        def train(layer: torch.nn.Module, inputs: torch.Tensor = inputs) -> None:
            hidden = inputs.detach().requires_grad_(True)
            layer(hidden).sum().backward()

        for name, work in (
            ("forward", lambda layer, inputs=inputs: layer(inputs)),
            ("forward and backward", train),
        ):
            fast = milliseconds(lambda work=work: work(plain), settings.device)
            slow = milliseconds(lambda work=work: work(quantized), settings.device)
            raw = {"plain_ms": fast, "nf4_ms": slow}
            recorder.record(
                f"NF4 / {settings.dtype}, {tokens} tokens, {name}", slow / fast, "x", raw=raw
            )
    state = quantized.weight.quant_state
    data = quantized.weight.data
    work = milliseconds(lambda: functional.dequantize_4bit(data, state), settings.device)
    moved = width * width * (0.5 + dtype.itemsize)
    recorder.record("dequantize", moved / (work / 1e3) / 1e9, "GB/s")
    restored = functional.dequantize_4bit(data, state).float()
    error = (restored - plain.weight.float()).norm() / plain.weight.float().norm()
    recorder.record("NF4, relative error of the weights", float(error), target="<= 0.12", check=24)
