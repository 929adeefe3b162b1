"""Load a model from a local folder: the only place where the product reads weights to compute with.

A base of 4 or 8 bits then computes the same on every processor. On processors with avx512_bf16,
bitsandbytes repacks 4-bit weights in place at the first forward pass without gradients, and
computes with rounded activations from then on: each layer moves by 0.3 % in float32, gradients
vanish, and a merge reads the wrong weights. Models loaded here never take that path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer

from swiftbox.architectures.choice import ClassPurpose, require_class
from swiftbox.architectures.stored_outputs import require_outputs
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.core.weights.load_errors import explain_broken_files
from swiftbox.core.weights.placement import require_all_placed
from swiftbox.core.weights.quantized_bases import (
    quantization_arguments,
    score_config,
    separate_experts,
    use_exact_kernels,
)
from swiftbox.core.weights.spared import spare_other_modalities


def load_pretrained(
    folder: Path,
    *,
    labels: int | None = None,
    dtype: torch.dtype | None = None,
    **arguments: Any,
) -> Any:
    """Load the model of a folder, with the kernels that compute the same on every processor.

    Args:
        folder: A local folder with config.json and safetensors weights.
        labels: The outputs of a score head; None for a language model.
        dtype: The number type to compute in; None for the one that is stored.
        arguments: Passed to transformers' `from_pretrained`, such as `device_map`.

    Raises ConfigError for files that cannot be loaded, and for weights that are not exactly those
    of the class that config.json names: transformers would start missing ones at random values.
    """
    trusted, has_score = bool(arguments.get("trust_remote_code")), labels is not None
    choice = require_class(folder, ClassPurpose(score=has_score, trusted=trusted))
    arguments |= {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    if labels is not None:
        require_outputs(folder, labels)
    with explain_broken_files(folder):
        if labels is not None:
            arguments["config"] = score_config(folder, labels, trust_remote_code=trusted)
        loader = getattr(transformers, choice.loader)
        separate_experts(folder)
        spare_other_modalities(arguments.get("quantization_config"), folder, loader, trusted)
        model, report = loader.from_pretrained(str(folder), dtype=dtype or "auto", **arguments)
    require_all_placed(folder, model, report, score=has_score)
    use_exact_kernels(model, dtype)
    return model


def read_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Load the tokenizer of a folder; raise ConfigError for files that cannot be loaded."""
    with explain_broken_files(folder):
        return AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )


def loaded_attention(name: str) -> str | None:
    """Return the attention to load a model with, which `core.data.layouts` may replace.

    None is transformers' choice: sdpa, or eager for models that sdpa cannot compute.
    """
    return None if name == "varlen" else name


def load_trainable(
    folder: Path,
    config: TrainConfig,
    *,
    head: str = "language",
    device: torch.device | None = None,
    labels: int = 1,
) -> Any:
    """Load the model to train. Adapters keep the frozen base in `dtype`, full tuning in float32.

    Full tuning computes in `dtype` by autocast: an update smaller than bfloat16's step would
    otherwise be lost. With pure_bf16 the weights are bfloat16, and the optimizer prevents the loss.
    A `score` head returns `labels` numbers per sequence in place of token logits.
    With a `device` each tensor is read from its file to there, and quantized there; without one
    the model is left in the host's memory, for strategies that place its parts themselves.
    """
    has_score = head == "score"
    in_float32 = config.tuner_type in FULL_TUNERS and not config.keeps_bfloat16_weights
    model = load_pretrained(
        folder,
        labels=labels if has_score else None,
        dtype=torch.float32 if in_float32 else getattr(torch, config.dtype),
        attn_implementation=loaded_attention(config.attn_implementation),
        trust_remote_code=config.trust_remote_code,
        **quantization_arguments(folder, config),
        **({} if device is None else {"device_map": {"": device}}),
    )
    model.config.use_cache = model.config.get_text_config().use_cache = False
    if has_score and model.config.pad_token_id is None:
        model.config.pad_token_id = 0  # transformers' own pooling requires one; ours is used
    return model
