"""Quantize a model with bitsandbytes: NF4 or FP4 (arXiv:2305.14314), or INT8 (arXiv:2208.07339)."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.merge import Quantization
from swiftbox.core.weights.completion import complete_weights, copied_message
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.quantized_bases import bitsandbytes_config


def quantize_and_save(
    source: Path,
    target: Path,
    quantization: Quantization,
    *,
    device: str,
    trust_remote_code: bool,
) -> None:
    """Load the model of `source` quantized, and save it to `target`."""
    disable_progress_bar()  # log.txt is read by people
    model = load_pretrained(
        source,
        dtype=getattr(torch, quantization.dtype),
        quantization_config=bitsandbytes_config(quantization),
        device_map={"": device},
        trust_remote_code=trust_remote_code,
    )
    model.save_pretrained(str(target))
    names = complete_weights(model, source, target)
    if names:
        print(copied_message(names), flush=True)  # noqa: T201 - log.txt is this process's stdout
