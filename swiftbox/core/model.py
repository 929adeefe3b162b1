"""Load a language model from a local folder; check what it promises.

Shapes: N tokens of a flat batch, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.core.quantized import quantization


def load_model(
    folder: Path, config: TrainConfig, *, auto: Any = AutoModelForCausalLM, **more: Any
) -> Any:
    """Load the model. LoRA keeps the frozen base in `dtype`; full tuning keeps float32 weights.

    `auto` is the class that reads it, such as AutoModelForSequenceClassification; it gets `more`.

    Full tuning computes in `dtype` by autocast: an update smaller than bfloat16's step would
    otherwise be lost.
    """
    dtype = torch.float32 if config.tuner_type in WHOLE else getattr(torch, config.dtype)
    model = auto.from_pretrained(
        str(folder),
        dtype=dtype,
        attn_implementation=config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        local_files_only=True,
        use_safetensors=True,
        **quantization(folder, config),
        **more,
    )
    model.config.use_cache = False
    return model


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def keeps_rows_apart(model: Any, dtype: torch.dtype = torch.float32) -> bool:
    """Tell whether joined rows are invisible to each other in this very model.

    Two flat batches differ only in their first row: the second row's logits must not move.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    device = model.get_input_embeddings().weight.device
    length = 8
    first = torch.arange(2 * length, device=device) % vocabulary
    other = first.clone()
    other[:length] = (first[:length] + 7) % vocabulary
    positions = torch.arange(length, device=device).repeat(2)[None]  # (1, N)
    was_training = model.training
    model.eval()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        seen = [
            model(input_ids=ids[None], position_ids=positions, use_cache=False).logits[0, length:]
            for ids in (first, other)
        ]  # two of (N/2, V)
    model.train(was_training)
    moved = (seen[0] - seen[1]).abs().max()
    return bool(moved <= 1e-3 * seen[0].abs().max())
