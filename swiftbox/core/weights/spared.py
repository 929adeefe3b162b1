"""Keep what reads pictures or sound, and heads, out of quantization while a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, BitsAndBytesConfig
from transformers.quantizers.base import get_keys_to_not_convert

from swiftbox.core.weights.modalities import other_modalities
from swiftbox.core.weights.score_head import head_parts


def spare_other_modalities(
    quantization: Any, folder: Path, loader: Any, trust_remote_code: bool
) -> None:
    """List the layers that bitsandbytes must not quantize, by their full names.

    A list replaces transformers' own, which spares the head only; so the head is listed too. For a
    language model of text alone there is nothing to list. Of a classifier all parts of the head
    are spared, since they are trained in full: transformers would spare the last one.
    """
    if not isinstance(quantization, BitsAndBytesConfig):
        return
    config = AutoConfig.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=trust_remote_code
    )
    is_classifier = loader is transformers.AutoModelForSequenceClassification
    if config.get_text_config() is config and not is_classifier:
        return
    with torch.device("meta"):
        model = loader.from_config(config, trust_remote_code=trust_remote_code)
    parts = (*other_modalities(model), *head_parts(model))
    if parts:
        names = {*parts, *get_keys_to_not_convert(model)}
        quantization.llm_int8_skip_modules = sorted(names)
