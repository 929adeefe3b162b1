"""Choose the attention and the layout of batches by testing which is exact for the loaded model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.attention.varlen import (
    VARLEN,
    UnsupportedAttentionError,
    implementation,
    implementations,
    restore,
    use_varlen,
)
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARING
from swiftbox.core.training.model_checks import isolates_rows, prefix_sharing_is_exact
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.diagnosis import first_line
from swiftbox.runs.events import Emit

PAIRS, TURNS = "pairs", "turns"
"""Samples whose rows begin alike: two answers to a prompt, and the turns of a conversation."""


def choose_layout(
    config: TrainConfig,
    network: Any,
    emit: Emit,
    *,
    device: torch.device | None = None,
    shares: str = "",
) -> str:
    """Join rows without padding if the model isolates them; otherwise pad, with a warning.

    Switches the model to the attention that the layout needs. `device` is where it will be trained;
    None: where its weights are. `shares`: PAIRS or TURNS if samples have rows that begin alike,
    which is computed once where that is exact.
    """
    layout = _joined_layout(config, network, emit, device)
    name = shown_implementation(network)
    if layout != PADDED:
        message = text(
            f"rows are joined, not padded; {name} keeps them apart (verified on this model)",
            f"样本拼接而不填充；{name} 使其互不可见（已在此模型上验证）",
        )
        emit(events.NOTE, key="padding_free", message=message)
    if not shares or (shares == PAIRS and config.model_dump()["prefix_sharing"] == "false"):
        return layout
    reason = _why_not_shared(config, network, layout)
    emit(events.NOTE, key="prefix_sharing", message=_sharing_note(shares, reason))
    return layout if reason else SHARING[layout]


def _sharing_note(shares: str, reason: str) -> str:
    if shares == PAIRS and not reason:
        return text(
            "the prompt of a pair is computed once for both answers (verified on this model)",
            "同一对回答的提示只计算一次（已在此模型上验证）",
        )
    if shares == PAIRS:
        return text(f"prompts are computed twice: {reason}", f"提示分别计算：{reason}")
    if not reason:
        return text(
            "what the turns of a conversation have in common is computed once (verified on this "
            "model)",
            "同一对话各轮的公共前文只计算一次（已在此模型上验证）",
        )
    return text(
        f"every turn computes the conversation before it: {reason}",
        f"每一轮都重新计算其前文：{reason}",
    )


def shown_implementation(network: Any) -> str:
    """Return the model's attention under the name that the config has for it."""
    name = implementation(network)
    return "varlen" if name == VARLEN else name


def _joined_layout(
    config: TrainConfig, network: Any, emit: Emit, device: torch.device | None
) -> str:
    if config.padding_free == "false":
        if config.packing:
            raise ConfigError(
                text("packing: requires padding_free", "packing：需要启用 padding_free"),
                hint=text(
                    "set padding_free: true, or packing: false",
                    "设 padding_free: true，或 packing: false",
                ),
            )
        return PADDED
    dtype = getattr(torch, config.dtype)
    if config.attn_implementation == "varlen":
        reason = _why_not_varlen(network, dtype, device)
        if not reason:
            return ONE_LINE
        emit(events.WARNING, message=_sdpa_instead(reason, shown_implementation(network)))
    flash = config.attn_implementation.startswith("flash")
    layout = ONE_LINE if flash else LINES
    with _computable(network, dtype) as obstacle:
        reason = obstacle or _leak(network, dtype, layout)
    if not reason:
        return layout
    emit(events.WARNING, message=_padded_instead(reason, packs=config.packing))
    return PADDED


def _padded_instead(reason: str, *, packs: bool) -> str:
    if packs:
        return text(
            f"packing: {reason}; rows are padded instead and not packed, "
            "so there are more updates and each has fewer tokens",
            f"packing：{reason}；改为填充，不再打包：更新次数变多，每次更新的 token 变少",
        )
    return text(
        f"padding_free: {reason}; rows are padded instead", f"padding_free：{reason}；改为填充"
    )


def _leak(network: Any, dtype: torch.dtype, layout: str) -> str:
    """Return why a model does not keep the rows of a layout apart; empty if it does."""
    try:
        if isolates_rows(network, dtype, layout):
            return ""
    except (UnsupportedAttentionError, ValueError) as error:
        # transformers raises ValueError where a package for linear attention is missing.
        return first_line(error)
    return text(
        f"{type(network).__name__} lets joined rows attend to each other",
        f"{type(network).__name__} 无法隔离拼接的样本",
    )


def _why_not_varlen(network: Any, dtype: torch.dtype, device: torch.device | None) -> str:
    """Switch to variable-length attention; return why that is not exact, empty if it is."""
    before = implementations(network)
    weights = network.get_input_embeddings().weight
    reason = use_varlen(network, dtype, device or weights.device)
    reason = reason or _leak(network, dtype, ONE_LINE)
    if reason:
        restore(before)
    return reason


def _sdpa_instead(reason: str, instead: str) -> str:
    return text(
        f"attn_implementation: varlen is not exact here ({reason}); {instead} is used",
        f"attn_implementation：varlen 在此不精确（{reason}）；改用 {instead}",
    )


@contextlib.contextmanager
def _computable(network: Any, dtype: torch.dtype) -> Iterator[str]:
    """Make the model compute where its weights are; yield why it cannot, empty if it can.

    Weights that are sharded later are still in main memory, where flash attention has no kernel. An
    exact loop over the rows takes its place: it gets the same bounds of rows by the same way.
    """
    name, device = implementation(network), network.get_input_embeddings().weight.device
    if device.type != "cpu" or not name.startswith("flash"):
        yield ""
        return
    before = implementations(network)
    try:
        yield use_varlen(network, dtype, device)
    finally:
        restore(before)


def _why_not_shared(config: TrainConfig, network: Any, layout: str) -> str:
    """Return why rows cannot share what they begin with; empty if they can."""
    name, dtype = shown_implementation(network), getattr(torch, config.dtype)
    if config.neftune_noise_alpha is not None:
        return text(
            "the noise of neftune_noise_alpha depends on the length of each row",
            "neftune_noise_alpha 的噪声取决于每行的长度",
        )
    if (layout, name) not in ((LINES, "sdpa"), (ONE_LINE, "varlen")):
        return text(
            f"{name} with this layout does not support rows that share a prefix",
            f"{name} 的此种布局不支持共享前缀",
        )
    window = getattr(network.config.get_text_config(), "sliding_window", None)
    if layout == LINES and window and window < config.max_length:
        return text(
            f"the model's attention window is {window} tokens",
            f"该模型的注意力窗口只有 {window} 个 token",
        )
    if not prefix_sharing_is_exact(network, dtype, (SHARING[layout], layout)):
        return text(
            f"sharing them is not exact in {type(network).__name__}",
            f"{type(network).__name__} 共享时结果不精确",
        )
    return ""
