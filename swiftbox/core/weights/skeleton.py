"""A model without its weights, built in a child to be measured.

Usage: `python -m swiftbox.core.weights.skeleton FOLDER`.

Its argument is a folder with config.json. Prints one JSON object, the dimensions by the names of
swiftbox.fit.shape. On torch's meta device nothing is allocated; code of a model's own never runs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
)

CLASSES = (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSeq2SeqLM, AutoModel)
"""With a head where there is one: its weights count."""


def main() -> int:
    """Print the dimensions of the folder that is named."""
    config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=False, local_files_only=True)
    sys.stdout.write("\n" + json.dumps(dimensions(build(config), config)) + "\n")
    return 0


def build(config: Any) -> nn.Module:
    """Return the model of a config on the meta device; raise ValueError where no class takes it."""
    for one in CLASSES:
        if type(config) in one._model_mapping:
            with torch.device("meta"):
                model: nn.Module = one.from_config(config, trust_remote_code=False)
            return model
    raise ValueError(f"no class for {type(config).__name__}")


def dimensions(model: Any, config: Any) -> dict[str, Any]:
    """Return the dimensions of a built model, told from its modules where they tell."""
    inner = config.get_text_config()
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    layers = _layers(model)
    hidden = table.shape[1]
    heads = getattr(inner, "num_attention_heads", None) or max(1, hidden // 64)
    return {
        "hidden": hidden,
        "vocab": table.shape[0],
        "layers": len(layers),
        "heads": heads,
        "kv_heads": getattr(inner, "num_key_value_heads", None) or heads,
        "head_dim": getattr(inner, "head_dim", None) or max(1, hidden // heads),
        "intermediate": _width(layers, hidden),
        "tied": head is not None and bool(getattr(inner, "tie_word_embeddings", False)),
        "params": sum(one.numel() for one in model.parameters()),
    }


def _layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder's layers: the list of modules that holds most of the weights."""
    lists = [one for one in model.modules() if isinstance(one, nn.ModuleList) and len(one)]
    return max(
        lists,
        key=lambda one: sum(weight.numel() for weight in one.parameters()),
        default=nn.ModuleList([model]),
    )


def _width(layers: nn.ModuleList, hidden: int) -> int:
    """Return the widest output that a layer makes of the hidden states."""
    shapes = [one.shape for one in layers[0].parameters() if one.dim() == 2]
    wide = [max(shape) for shape in shapes if min(shape) == hidden]
    return max(wide, default=4 * hidden)


if __name__ == "__main__":
    sys.exit(main())
