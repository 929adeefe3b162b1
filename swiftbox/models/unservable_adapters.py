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
from swiftbox.models.vllm_versions import release
from swiftbox.models.vocabulary_rows import Shapes, rows_of, trained_rows

PEFT_RANK, PEFT_ALPHA = 8, 8
"""peft's defaults."""

MERGE = "swiftbox new merge -o merge.yaml adapter={} && swiftbox run merge.yaml"

LARGEST_RANK = 512
"""Of vLLM."""

PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Initial weights that leave the base as it is, beside those that have no name."""

PATTERNS_SINCE = (0, 32)
"""Earlier versions of vLLM have one scale for all layers, of r and lora_alpha."""

VARIANTS = (
    *("kasa_config", "velora_config", "arrow_config", "monteclora_config"),
    *("use_qalora", "use_bdlora", "layer_replication", "alora_invocation_tokens"),
)
"""Settings of peft with which a layer has more than the two matrices of a LoRA."""


class UnservableAdapter(ConfigError):
    """A program cannot load an adapter on its base; merging it is the cure."""


def require_plain_loras(adapters: Sequence[Adapter], version: str, alternative: str) -> None:
    """Raise ConfigError for adapters that a version of vLLM refuses, with every reason.

    It loads the matrices of a LoRA and nothing else (vllm/lora/peft_helper.py).
    """
    _require(adapters, lambda adapter: _beyond_lora(adapter, version), "vLLM", alternative)


def vllm_faults(adapters: Sequence[Adapter], version: str) -> dict[Path, str]:
    """Return why a version of vLLM refuses adapters, by their folders."""
    return {
        adapter.folder: fault for adapter in adapters if (fault := _beyond_lora(adapter, version))
    }


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
    raise UnservableAdapter(
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


def _beyond_lora(adapter: Adapter, version: str) -> str:
    config = adapter.config
    saved = ", ".join(config.get("modules_to_save") or [])
    reasons = [
        _new_tokens(adapter),
        text(f"it trained {saved} completely", f"它完整训练了 {saved}") if saved else "",
        text("it is a DoRA", "它是 DoRA") if config.get("use_dora") else "",
        trained_biases(adapter),
        _scales(adapter, version) if adapter.kind == "LORA" else "",
        _rank(adapter),
        _initial(config.get("init_lora_weights")),
        *variants(adapter),
        text(f"it is of the kind {adapter.kind}", f"它的类型是 {adapter.kind}")
        if adapter.kind != "LORA"
        else "",
        text("it holds complete weights", "它含完整的权重")
        if adapter.full_weights and not saved
        else "",
    ]
    return text(", ", "、").join(filter(None, reasons))


def variants(adapter: Adapter) -> list[str]:
    """Return a reason for each setting with which layers have more than the matrices of a LoRA."""
    return [text(f"it sets {key}", f"它设了 {key}") for key in VARIANTS if adapter.config.get(key)]


def trained_biases(adapter: Adapter) -> str:
    """Return the reason if an adapter has trained biases; empty if it has not."""
    config = adapter.config
    has_bias = config.get("bias", "none") != "none" or config.get("lora_bias")
    return text("it trained biases", "它训练了偏置") if has_bias else ""


def largest_rank(adapter: Adapter) -> int:
    """Return the largest rank of the layers of a LoRA."""
    ranks = adapter.config.get("rank_pattern") or {}
    return int(max(adapter.config.get("r", PEFT_RANK), *ranks.values(), 0))


def _rank(adapter: Adapter) -> str:
    rank = largest_rank(adapter) if adapter.kind == "LORA" else 0
    if rank <= LARGEST_RANK:
        return ""
    return text(
        f"its rank is {rank}, and the largest is {LARGEST_RANK}",
        f"它的秩为 {rank}，最大为 {LARGEST_RANK}",
    )


def _initial(initial: object) -> str:
    """Return the reason if loading the adapter changes the base."""
    if not isinstance(initial, str) or initial.lower() in PLAIN_INITS:
        return ""
    return text(
        f"it changes the base when it is loaded (init_lora_weights: {initial})",
        f"加载它会改动基座（init_lora_weights：{initial}）",
    )


def _scales(adapter: Adapter, version: str) -> str:
    """Return the reason if layers have different scales, and the version has only one."""
    if release(version) >= PATTERNS_SINCE:
        return ""
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
