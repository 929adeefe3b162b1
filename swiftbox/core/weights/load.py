"""Load a language model from a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.core.weights.quantized_bases import quantization


def load_model(folder: Path, config: TrainConfig, *, head: str = "language") -> Any:
    """Load the model. LoRA keeps the frozen base in `dtype`; full tuning keeps float32 weights.

    A `score` head gives one number per sequence in place of the language head's logits.

    Full tuning computes in `dtype` by autocast: an update smaller than bfloat16's step would
    otherwise be lost.
    """
    dtype = torch.float32 if config.tuner_type in FULL_TUNERS else getattr(torch, config.dtype)
    scores = head == "score"
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    model = kind.from_pretrained(
        str(folder),
        **({"num_labels": 1} if scores else {}),
        dtype=dtype,
        attn_implementation=config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        local_files_only=True,
        use_safetensors=True,
        **quantization(folder, config),
    )
    model.config.use_cache = False
    if scores and model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # its own pooling, which is not used, wants one
    return model
