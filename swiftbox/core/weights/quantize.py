"""Quantize a model with bitsandbytes and save it so: NF4 or FP4 (arXiv:2305.14314), or INT8."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.merge import Quantization
from swiftbox.core.weights.quantized_bases import bitsandbytes_config


def pack(
    source: Path, into: Path, how: Quantization, *, device: str, trust_remote_code: bool
) -> None:
    """Load a model quantized and write it as it then is.

    No forward pass is made: on processors with avx512_bf16 one would pack the weights anew.
    """
    disable_progress_bar()  # log.txt is read by people
    model = AutoModelForCausalLM.from_pretrained(
        str(source),
        dtype=getattr(torch, how.dtype),
        quantization_config=bitsandbytes_config(how),
        device_map={"": device},
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
    )
    model.save_pretrained(str(into))
