"""Build a model without weights in a child process, and print its dimensions.

Usage: `python -m swiftbox.core.weights.skeleton FOLDER`.

FOLDER holds config.json. The output is a JSON object with the names of swiftbox.fit.shape. On
torch's meta device nothing is allocated; code that comes with a model never runs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
)

from swiftbox.architectures.choice import ModelClass, find_class

CLASSES = (AutoModelForMultimodalLM, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModel)
"""Classes to try in order; those with a head come first, since its weights count."""


def main() -> int:
    """Print the dimensions of the folder on the command line."""
    config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=False, local_files_only=True)
    sys.stdout.write("\n" + json.dumps(dimensions(build(config), config)) + "\n")
    return 0


def build(config: Any) -> nn.Module:
    """Return the model of a config on the meta device; raise ValueError if no class knows it.

    It is built by the class that loads it; a model that is only described may be of any class.
    """
    choice = find_class(config.to_dict())
    first = getattr(transformers, choice.loader) if isinstance(choice, ModelClass) else None
    for auto_class in (first, *CLASSES):
        if auto_class is None:
            continue
        if type(config) in auto_class._model_mapping:
            with torch.device("meta"):
                model: nn.Module = auto_class.from_config(config, trust_remote_code=False)
            return model
    raise ValueError(f"no class for {type(config).__name__}")


def dimensions(model: Any, config: Any) -> dict[str, Any]:
    """Return the dimensions of a model, from its modules where possible, else from its config."""
    text_config = config.get_text_config()
    embeddings = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    layers = _decoder_layers(model)
    hidden = embeddings.shape[1]
    heads = getattr(text_config, "num_attention_heads", None) or max(1, hidden // 64)
    return {
        "hidden": hidden,
        "vocab": embeddings.shape[0],
        "layers": len(layers),
        "heads": heads,
        "kv_heads": getattr(text_config, "num_key_value_heads", None) or heads,
        "head_dim": getattr(text_config, "head_dim", None) or max(1, hidden // heads),
        "intermediate": _intermediate_size(layers, hidden),
        "tied": head is not None and bool(getattr(text_config, "tie_word_embeddings", False)),
        "params": sum(parameter.numel() for parameter in model.parameters()),
    }


def _decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder layers: the list of modules that holds most of the weights."""
    lists = [
        module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)
    ]
    return max(
        lists,
        key=lambda layers: sum(parameter.numel() for parameter in layers.parameters()),
        default=nn.ModuleList([model]),
    )


def _intermediate_size(layers: nn.ModuleList, hidden: int) -> int:
    """Return the widest projection of the hidden states in a layer."""
    shapes = [weight.shape for weight in layers[0].parameters() if weight.dim() == 2]
    widths = [max(shape) for shape in shapes if min(shape) == hidden]
    return max(widths, default=4 * hidden)


if __name__ == "__main__":
    sys.exit(main())
