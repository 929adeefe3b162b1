"""LLaMA Pro (arXiv:2401.02415): new blocks that do nothing at first are the ones that learn.

Shapes: N tokens, V vocabulary.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from swiftbox.errors import ConfigError
from swiftbox.language import text

OUTPUTS = ("o_proj", "down_proj", "out_proj", "dense_4h_to_h", "fc2", "c_proj", "wo", "w2", "dense")
"""Layers whose result is added to the residual stream; zeroed in a new block."""


def expand(model: Any, new_blocks: int) -> None:
    """Insert copies of blocks, spread evenly, whose outputs are zero; freeze all the rest.

    Raises ConfigError where the number does not fit, or where the new model does not give the
    same logits: then its blocks add to the stream in a way that is not known here.
    """
    before = _probe(model)
    parent, name, blocks = _blocks(model)
    count = len(blocks)
    if count % new_blocks:
        fitting = [one for one in range(1, count + 1) if count % one == 0]
        raise ConfigError(
            text(
                f"llamapro_num_new_blocks: {new_blocks} does not divide {count} layers",
                f"llamapro_num_new_blocks：{new_blocks} 不能整除 {count} 层",
            ),
            hint=text(f"set one of {fitting}", f"可设为 {fitting} 之一"),
        )
    model.requires_grad_(False)
    every = count // new_blocks
    grown: list[Any] = []
    origins: list[int] = []
    for place, block in enumerate(blocks):
        grown.append(block)
        origins.append(place)
        if (place + 1) % every == 0:
            grown.append(_silent_copy(block))
            origins.append(place)
    setattr(parent, name, torch.nn.ModuleList(grown))
    _renumber(grown)
    _lengthen(model.config.get_text_config(), count, origins)
    if not torch.allclose(before, _probe(model), atol=1e-4 * float(before.abs().max())):
        raise ConfigError(
            text(
                f"tuner_type: llamapro does not know the blocks of {type(model).__name__}",
                f"tuner_type：llamapro 不认识 {type(model).__name__} 的层结构",
            ),
            hint=text("use tuner_type: lora or full", "请用 tuner_type: lora 或 full"),
        )


def _blocks(model: Any) -> tuple[Any, str, Any]:
    """Find the list of blocks, with its parent and its name there."""
    count = model.config.get_text_config().num_hidden_layers
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            above, _, name = path.rpartition(".")
            return model.get_submodule(above), name, module
    raise ConfigError(
        text(
            f"tuner_type: llamapro finds no list of {count} blocks in {type(model).__name__}",
            f"tuner_type：llamapro 在 {type(model).__name__} 中找不到 {count} 层的列表",
        ),
        hint=text("use tuner_type: lora or full", "请用 tuner_type: lora 或 full"),
    )


def _silent_copy(block: Any) -> Any:
    twin = copy.deepcopy(block)
    for name, parameter in twin.named_parameters():
        parts = name.split(".")
        if any(part in OUTPUTS for part in parts):
            torch.nn.init.zeros_(parameter)
    return twin.requires_grad_(True)


def _renumber(blocks: list[Any]) -> None:
    """Give every block the number under which it keeps its keys and values."""
    for number, block in enumerate(blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number


def _lengthen(config: Any, count: int, origins: list[int]) -> None:
    """Write the new number of blocks, and repeat what the config lists per block."""
    for key, value in list(vars(config).items()):
        if isinstance(value, (list, tuple)) and len(value) == count and key.startswith("layer"):
            setattr(config, key, [value[place] for place in origins])
    config.num_hidden_layers = len(origins)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def _probe(model: Any) -> torch.Tensor:
    """Return the logits of a few tokens.  # (1, N, V)"""
    embeddings = model.get_input_embeddings().weight
    ids = torch.arange(16, device=embeddings.device)[None] % embeddings.shape[0]  # (1, N)
    was_training = model.training
    model.eval()
    logits = model(input_ids=ids, use_cache=False).logits
    model.train(was_training)
    return logits.float()
