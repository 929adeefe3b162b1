"""The base of a merge in float32: the stored weights, or the dequantized ones of QLoRA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn import Linear4bit, Linear8bitLt

from swiftbox.config.merge import Quantization
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.quantized_bases import bitsandbytes_config


def load_merge_base(
    folder: Path,
    quantization: Quantization | None,
    *,
    labels: int | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a base in float32; with a quantization, with weights quantized and dequantized again.

    `labels`: the outputs of a score head; None for a language model.
    """
    load = partial(
        load_pretrained,
        folder,
        labels=labels,
        attn_implementation="sdpa",
        trust_remote_code=trust_remote_code,
    )
    model = load(dtype=torch.float32)
    if quantization is not None:
        quantized = load(
            dtype=getattr(torch, quantization.dtype),
            quantization_config=bitsandbytes_config(quantization),
        )
        _copy_weights(model, _dequantized_weights(quantized))
    return model.eval()


def _dequantized_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a quantized model's weights by name in float32, one at a time to save memory."""
    quantized_layers = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    }
    for name, value in model.named_parameters():
        if name in quantized_layers:
            yield name, _dequantized(quantized_layers[name])
        elif value.is_floating_point():
            yield name, value.detach().float()


def _dequantized(module: Any) -> torch.Tensor:
    weight = module.weight
    if isinstance(module, Linear4bit):
        return functional.dequantize_4bit(weight.data, weight.quant_state).float()
    scales = weight.SCB if weight.SCB is not None else module.state.SCB
    return functional.int8_vectorwise_dequant(weight.data, scales).float()


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def _copy_weights(model: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    missing = dict(model.named_parameters())
    for name, weight in weights:
        if name in missing:
            parameter = missing.pop(name)
            parameter.copy_(weight.view_as(parameter))
    if missing:
        raise KeyError(f"no weights for {', '.join(missing)}")


def untie_embeddings(model: Any) -> bool:
    """Give the head a copy of the embeddings that it shares; return whether it shared them."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return False
    head.weight = torch.nn.Parameter(embeddings.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False
    return True
