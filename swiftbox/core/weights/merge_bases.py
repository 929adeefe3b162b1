"""The base of a merge in float32: its own weights, or those that a quantized training has seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from swiftbox.config.merge import Quantization
from swiftbox.core.weights.quantized_bases import bitsandbytes_config


def load_base(
    folder: Path,
    quantization: Quantization | None,
    *,
    labels: int | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a base in float32; with a quantization, with the weights that it leaves of them.

    `labels`: the outputs of a model that scores; None for one that writes.
    """
    said: dict[str, Any] = {
        "trust_remote_code": trust_remote_code,
        "local_files_only": True,
        "use_safetensors": True,
        "attn_implementation": "sdpa",
    }
    kind = AutoModelForCausalLM
    if labels is not None:
        kind, said["num_labels"] = AutoModelForSequenceClassification, labels
    model = kind.from_pretrained(str(folder), dtype=torch.float32, **said)
    if quantization is None:
        return model.eval()
    seen = kind.from_pretrained(
        str(folder),
        dtype=getattr(torch, quantization.dtype),
        quantization_config=bitsandbytes_config(quantization),
        **said,
    )
    _take(model, _weights_of(seen))
    return model.eval()


def _weights_of(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a quantized model's weights by name in float32, one at a time: all are 4 bytes each.

    No forward pass has been: on processors with avx512_bf16 one would pack the weights anew.
    """
    packed = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    }
    for name, value in model.named_parameters():
        if name in packed:
            yield name, _unpacked(packed[name])
        elif value.is_floating_point():
            yield name, value.detach().float()


def _unpacked(module: Any) -> torch.Tensor:
    weight = module.weight
    if isinstance(module, Linear4bit):
        return dequantize_4bit(weight.data, weight.quant_state).float()
    scales = weight.SCB if weight.SCB is not None else module.state.SCB
    return int8_vectorwise_dequant(weight.data, scales).float()


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def _take(model: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    left = dict(model.named_parameters())
    for name, weight in weights:
        if name in left:
            value = left.pop(name)
            value.copy_(weight.view_as(value))
    if left:
        raise KeyError(f"no weights for {', '.join(left)}")


def untie(model: Any) -> bool:
    """Give the head weights of its own, where it shares the embeddings'; tell whether it did."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not table.weight:
        return False
    head.weight = torch.nn.Parameter(table.weight.detach().clone(), requires_grad=False)
    for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    return True
