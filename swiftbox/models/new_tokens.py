"""Adapters with new tokens, which their base does not have: not every program loads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text

CONFIG = "adapter_config.json"


def has_new_tokens(folder: Path) -> bool:
    """Return whether an adapter trains single rows of the embeddings."""
    return bool(read_json(folder / CONFIG).get("trainable_token_indices"))


def require_no_new_tokens(folders: Iterable[Path], program: str, alternative: str) -> None:
    """Raise ConfigError for adapters with new tokens, which a program cannot load."""
    names = [str(folder) for folder in folders if has_new_tokens(folder)]
    if not names:
        return
    listed = ", ".join(names)
    raise ConfigError(
        text(
            f"adapter: {listed}: {program} cannot load an adapter with new tokens",
            f"adapter：{listed}：{program} 无法加载含新增词元的适配器",
        ),
        hint=text(
            f"merge it first (`swiftbox merge`) and use the result, or {alternative}",
            f"请先合并（`swiftbox merge`）并使用合并结果，或{alternative}",
        ),
    )
