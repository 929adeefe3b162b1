"""Adapters that a program cannot load on their base: they are merged first.

Shapes: V rows of the vocabulary, H hidden.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from swiftbox.config.vocabulary import ROWS
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.adapters import Adapter, read_adapter
from swiftbox.models.vocabulary_rows import Shapes, rows_of, trained_rows

PEFT_RANK, PEFT_ALPHA = 8, 8
"""peft's defaults."""

MERGE = "swiftbox new merge -o merge.yaml adapter={} && swiftbox run merge.yaml"


def require_plain_loras(adapters: Sequence[Adapter], alternative: str) -> None:
    """Raise ConfigError for adapters that vLLM refuses, with every reason.

    It loads the matrices of a LoRA and nothing else (vllm/lora/peft_helper.py).
    """
    _require(adapters, _beyond_lora, "vLLM", alternative)


def require_no_new_tokens(folders: Iterable[Path], program: str, alternative: str) -> None:
    """Raise ConfigError for adapters with new tokens, which a program cannot load."""
    _require([read_adapter(folder) for folder in folders], _new_tokens, program, alternative)


def require_same_rows(shapes: Shapes, adapters: Sequence[Adapter]) -> None:
    """Raise ConfigError for adapters that replace the embeddings by larger ones.

    `shapes` are the base's. The builtin server keeps one table for all of its adapters.
    """
    rows = rows_of(shapes)

    def resized(adapter: Adapter) -> str:
        own_rows = rows_of(adapter.shapes)
        beyond = {row for row in trained_rows(adapter.config) if rows and row >= rows}
        grown = -(-((rows or 0) + len(beyond)) // ROWS) * ROWS if beyond else rows
        if rows is None or own_rows in (None, grown):
            return ""
        return text(
            f"its embeddings have {own_rows:,} rows, those of the base {rows:,}",
            f"其词嵌入有 {own_rows:,} 行，而基座有 {rows:,} 行",
        )

    _require(adapters, resized, text("the builtin server", "内置服务"), "")


def _require(
    adapters: Sequence[Adapter], reason: Callable[[Adapter], str], program: str, alternative: str
) -> None:
    faults = {adapter.folder: fault for adapter in adapters if (fault := reason(adapter))}
    if not faults:
        return
    hint = merge_hint(next(iter(faults)))
    raise ConfigError(
        "\n".join(
            text(
                f"adapter: {folder}: {program} cannot load it: {fault}",
                f"adapter：{folder}：{program} 无法加载：{fault}",
            )
            for folder, fault in faults.items()
        ),
        hint=text(f"{hint}, or {alternative}", f"{hint}，或{alternative}") if alternative else hint,
    )


def merge_hint(folder: Path | str) -> str:
    """Return the hint to merge an adapter and to use the result."""
    command = MERGE.format(shlex.quote(str(folder)))
    return text(
        f"merge it first and use the result as model: `{command}`",
        f"请先合并，再以合并结果作为 model：`{command}`",
    )


def _new_tokens(adapter: Adapter) -> str:
    has_rows = bool(adapter.config.get("trainable_token_indices"))
    return text("it has new tokens", "它含新增词元") if has_rows else ""


def _beyond_lora(adapter: Adapter) -> str:
    config = adapter.config
    saved = ", ".join(config.get("modules_to_save") or [])
    reasons = [
        _new_tokens(adapter),
        text(f"it trained {saved} completely", f"它完整训练了 {saved}") if saved else "",
        text("it is a DoRA", "它是 DoRA") if config.get("use_dora") else "",
        _bias(adapter),
        _scales(adapter) if adapter.kind == "LORA" else "",
        text(f"it is of the kind {adapter.kind}", f"它的类型是 {adapter.kind}")
        if adapter.kind != "LORA"
        else "",
        text("it holds complete weights", "它含完整的权重")
        if adapter.full_weights and not saved
        else "",
    ]
    return text(", ", "、").join(filter(None, reasons))


def _bias(adapter: Adapter) -> str:
    config = adapter.config
    has_bias = config.get("bias", "none") != "none" or config.get("lora_bias")
    return text("it trained biases", "它训练了偏置") if has_bias else ""


def _scales(adapter: Adapter) -> str:
    """Return the reason if layers have different scales: vLLM has one, of r and lora_alpha."""
    config = adapter.config
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}

    def scale(pattern: str) -> float:
        rank = float(ranks.get(pattern, config.get("r", PEFT_RANK)))
        divisor = math.sqrt(rank) if config.get("use_rslora") else rank
        return float(alphas.get(pattern, config.get("lora_alpha", PEFT_ALPHA))) / divisor

    patterns = sorted({*ranks, *alphas})
    different = [name for name in patterns if not math.isclose(scale(name), scale(""))]
    if not different:
        return ""
    names = ", ".join(different)
    return text(f"it scales {names} differently", f"它对 {names} 使用不同的缩放")
