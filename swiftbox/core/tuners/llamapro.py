"""LLaMA Pro (arXiv:2401.02415): trains inserted blocks that start as identity functions.

Shapes: N tokens, V vocabulary.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from swiftbox.errors import ConfigError
from swiftbox.language import text

OUTPUTS = ("o_proj", "down_proj", "out_proj", "dense_4h_to_h", "fc2", "c_proj", "wo", "w2", "dense")
"""Layers whose output is added to the residual stream; zeroed in a new block."""


def expand(model: Any, new_blocks: int) -> None:
    """Insert evenly spaced copies of blocks with zero output, and freeze all other weights.

    Raises ConfigError if the number does not divide the layers, or if the expanded model has
    different logits, so its block structure is not supported.
    """
    before = _probe(model)
    parent, name, blocks = expandable_blocks(model, new_blocks)
    count = len(blocks)
    model.requires_grad_(False)
    interval = count // new_blocks
    expanded: list[Any] = []
    origins: list[int] = []
    for place, block in enumerate(blocks):
        expanded.append(block)
        origins.append(place)
        if (place + 1) % interval == 0:
            expanded.append(_identity_copy(block))
            origins.append(place)
    setattr(parent, name, torch.nn.ModuleList(expanded))
    _renumber(expanded)
    _lengthen(model.config.get_text_config(), count, origins)
    if not torch.allclose(before, _probe(model), atol=1e-4 * float(before.abs().max())):
        raise ConfigError(
            text(
                f"tuner_type: llamapro does not support the blocks of {type(model).__name__}",
                f"tuner_type：llamapro 不支持 {type(model).__name__} 的层结构",
            ),
            hint=text("use tuner_type: lora or full", "请用 tuner_type: lora 或 full"),
        )


def expandable_blocks(model: Any, new_blocks: int) -> tuple[Any, str, Any]:
    """Return the parent, the name and the list of blocks; raise ConfigError if it is not divided.

    No weight is read.
    """
    parent, name, blocks = _blocks(model)
    count = len(blocks)
    if count % new_blocks:
        divisors = [number for number in range(1, count + 1) if count % number == 0]
        raise ConfigError(
            text(
                f"llamapro_num_new_blocks: {new_blocks} does not divide {count} layers",
                f"llamapro_num_new_blocks：{new_blocks} 不能整除 {count} 层",
            ),
            hint=text(f"set one of {divisors}", f"可设为 {divisors} 之一"),
        )
    return parent, name, blocks


def _blocks(model: Any) -> tuple[Any, str, Any]:
    """Find the list of blocks; return its parent, its name and the list."""
    count = model.config.get_text_config().num_hidden_layers
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            parent, _, name = path.rpartition(".")
            return model.get_submodule(parent), name, module
    raise ConfigError(
        text(
            f"tuner_type: llamapro cannot find the {count} blocks of {type(model).__name__}",
            f"tuner_type：llamapro 在 {type(model).__name__} 中找不到 {count} 层的列表",
        ),
        hint=text("use tuner_type: lora or full", "请用 tuner_type: lora 或 full"),
    )


def _identity_copy(block: Any) -> Any:
    duplicate = copy.deepcopy(block)
    for name, parameter in duplicate.named_parameters():
        parts = name.split(".")
        if any(part in OUTPUTS for part in parts):
            torch.nn.init.zeros_(parameter)
    return duplicate.requires_grad_(True)


def _renumber(blocks: list[Any]) -> None:
    """Set the layer_idx of every block, its key in the key-value cache."""
    for number, block in enumerate(blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number


def _lengthen(config: Any, count: int, origins: list[int]) -> None:
    """Update the number of blocks, and the lists of the config with an entry per block."""
    for key, value in list(vars(config).items()):
        if isinstance(value, (list, tuple)) and len(value) == count and key.startswith("layer"):
            setattr(config, key, [value[place] for place in origins])
    config.num_hidden_layers = len(origins)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def _probe(model: Any) -> torch.Tensor:
    """Return the logits of a fixed sequence.  # (1, N, V)"""
    embeddings = model.get_input_embeddings().weight
    ids = torch.arange(16, device=embeddings.device)[None] % embeddings.shape[0]  # (1, N)
    was_training = model.training
    model.eval()
    logits = model(input_ids=ids, use_cache=False).logits
    model.train(was_training)
    return logits.float()
