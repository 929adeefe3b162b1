"""Whether a folder holds a model that writes text: classifiers and reward models do not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swiftbox.architectures.choice import stored_head
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text

SCORES = "SEQ_CLS"
"""peft's task type of adapters with a head that scores or classifies."""


def require_writes_text(folder: Path, key: str) -> None:
    """Raise ConfigError for a classifier, a reward model, or an adapter of one of them."""
    adapter = read_json(folder / "adapter_config.json")
    if adapter.get("task_type") == SCORES:
        merge_first = text(
            "merge it first (task: merge), then use ", "请先合并（task: merge），再用 "
        )
        raise _writes_no_text(folder, key, merge_first)
    if stored_head(read_json(folder / "config.json")) == "score":
        raise _writes_no_text(folder, key, text("use ", "请用 "))


def require_named_text(names: Iterable[tuple[str, str | None]]) -> None:
    """Raise ConfigError as `require_writes_text` does for settings that name a local folder."""
    for key, name in names:
        folder = Path(name).expanduser() if name else None
        if folder is not None and folder.is_dir():
            require_writes_text(folder, key)


def _writes_no_text(folder: Path, key: str, begin: str) -> ConfigError:
    return ConfigError(
        text(
            f"{key}: {folder} predicts labels or scores and does not write text",
            f"{key}：{folder} 预测标签或分数，不生成文本",
        ),
        hint=begin
        + text(
            'transformers\' pipeline("text-classification", model=...), as in '
            "`swiftbox guide classification`",
            'transformers 的 pipeline("text-classification", model=...)，见 '
            "`swiftbox guide classification`",
        ),
    )
