"""How the rows of a batch are laid out, chosen by what this very model keeps apart exactly."""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARED
from swiftbox.core.training.model_checks import keeps_rows_apart, shares_prompts
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit


def choose_layout(config: TrainConfig, network: Any, emit: Emit, *, shares: bool = False) -> str:
    """Join rows without padding where this very model keeps them apart; else pad, and say so.

    `shares`: samples are pairs with one prompt, which then stands once where that is exact.
    """
    layout = _joined_layout(config, network, emit)
    if not shares or config.model_dump()["prefix_sharing"] == "false":
        return layout
    why = _not_shared(config, network, layout)
    if not why:
        emit(
            events.NOTE,
            key="prefix_sharing",
            message=text(
                "the prompt of a pair is computed once for both answers; checked on this model",
                "同一对回答的提示只计算一次；已在此模型上核对",
            ),
        )
        return SHARED
    emit(events.NOTE, key="prefix_sharing", message=why)
    return layout


def _joined_layout(config: TrainConfig, network: Any, emit: Emit) -> str:
    if config.padding_free == "false":
        if config.packing:
            raise ConfigError(
                text("packing: joined rows need padding_free", "packing：拼接需要 padding_free"),
                hint=text("drop padding_free: false", "去掉 padding_free: false"),
            )
        return PADDED
    if config.attn_implementation.startswith("flash"):
        return ONE_LINE  # its variable-length kernels take no mask that could be wrong
    if keeps_rows_apart(network, getattr(torch, config.dtype)):
        return LINES
    message = text(
        f"padding_free: joined rows see each other in {type(network).__name__}; rows are padded",
        f"padding_free：在 {type(network).__name__} 中拼接的样本会互相可见；改为填充",
    )
    if config.packing:
        raise ConfigError(message, hint=text("set packing: false", "设 packing: false"))
    emit(events.WARNING, message=message)
    return PADDED


def _not_shared(config: TrainConfig, network: Any, layout: str) -> str:
    """Return why prompts cannot be shared; empty where they can."""
    if layout != LINES or config.attn_implementation != "sdpa":
        return text(
            f"prompts stand twice: {config.attn_implementation} in this layout takes no mask "
            "that lets two answers share one",
            f"提示各算一次：{config.attn_implementation} 的此种布局不支持共享提示的掩码",
        )
    window = getattr(network.config.get_text_config(), "sliding_window", None)
    if window and window < config.max_length:
        return text(
            f"prompts stand twice: the model's attention looks back {window} tokens only",
            f"提示各算一次：该模型的注意力只回看 {window} 个 token",
        )
    if not shares_prompts(network, getattr(torch, config.dtype)):
        return text(
            f"prompts stand twice: sharing them is not exact in {type(network).__name__}",
            f"提示各算一次：在 {type(network).__name__} 中共享并不精确",
        )
    return ""
