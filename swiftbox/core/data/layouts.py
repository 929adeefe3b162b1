"""Choose the layout of batches by testing which one is exact for the loaded model."""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARED
from swiftbox.core.training.model_checks import isolates_rows, prompt_sharing_is_exact
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit


def choose_layout(config: TrainConfig, network: Any, emit: Emit, *, shares: bool = False) -> str:
    """Join rows without padding if the model isolates them; otherwise pad, with a warning.

    `shares`: samples are pairs with one prompt, which is computed once where that is exact.
    """
    layout = _joined_layout(config, network, emit)
    if not shares or config.model_dump()["prefix_sharing"] == "false":
        return layout
    reason = _why_not_shared(config, network, layout)
    if not reason:
        emit(
            events.NOTE,
            key="prefix_sharing",
            message=text(
                "the prompt of a pair is computed once for both answers (verified on this model)",
                "同一对回答的提示只计算一次（已在此模型上验证）",
            ),
        )
        return SHARED
    emit(events.NOTE, key="prefix_sharing", message=reason)
    return layout


def _joined_layout(config: TrainConfig, network: Any, emit: Emit) -> str:
    if config.padding_free == "false":
        if config.packing:
            raise ConfigError(
                text("packing: requires padding_free", "packing：需要启用 padding_free"),
                hint=text("remove padding_free: false", "去掉 padding_free: false"),
            )
        return PADDED
    if config.attn_implementation.startswith("flash"):
        return ONE_LINE  # variable-length kernels use no mask that could be wrong
    if isolates_rows(network, getattr(torch, config.dtype)):
        return LINES
    message = text(
        f"padding_free: {type(network).__name__} lets joined rows attend to each other; "
        "rows are padded instead",
        f"padding_free：{type(network).__name__} 无法隔离拼接的样本；改为填充",
    )
    if config.packing:
        raise ConfigError(message, hint=text("set packing: false", "设 packing: false"))
    emit(events.WARNING, message=message)
    return PADDED


def _why_not_shared(config: TrainConfig, network: Any, layout: str) -> str:
    """Return why the prompt of a pair cannot be shared; empty if it can."""
    if layout != LINES or config.attn_implementation != "sdpa":
        return text(
            f"prompts are computed twice: {config.attn_implementation} with this layout does not "
            "support the mask that lets two answers share a prompt",
            f"提示分别计算：{config.attn_implementation} 的此种布局不支持共享提示的掩码",
        )
    window = getattr(network.config.get_text_config(), "sliding_window", None)
    if window and window < config.max_length:
        return text(
            f"prompts are computed twice: the model's attention window is {window} tokens",
            f"提示分别计算：该模型的注意力窗口只有 {window} 个 token",
        )
    if not prompt_sharing_is_exact(network, getattr(torch, config.dtype)):
        return text(
            f"prompts are computed twice: sharing them is not exact in {type(network).__name__}",
            f"提示分别计算：{type(network).__name__} 共享提示时结果不精确",
        )
    return ""
