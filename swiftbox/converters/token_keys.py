"""New tokens in the words of other tools: names in a list, in a text, or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.reading import Settings, written_entries
from swiftbox.config.yaml_nodes import MAX_BYTES
from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Translate,
    adopted,
    no_effect,
    split_names,
    unsupported,
)
from swiftbox.language import text
from swiftbox.security.paths import fault_of_relative
from swiftbox.security.regular import read_regular


def tokens(ours: str) -> Translate:
    """Return the row of a list of tokens, or of files with a token per line."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        names: list[str] = []
        for name in split_names(value):
            if not name.endswith(".txt"):
                names.append(name)
                continue
            content = file_beside(name, foreign)
            if content is None:
                return [_unreadable(name)]
            names += [line.strip() for line in content.splitlines() if line.strip()]
        return [KeyOutcome("adopted", {ours: names})]

    return translate


def described_tokens(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate a YAML whose keys are new special tokens, with a description of each."""
    is_yaml = str(value).endswith((".yaml", ".yml"))
    content = file_beside(str(value), foreign) if is_yaml else None
    settings = Settings(str(value))
    entries = written_entries(content, settings) if content is not None else {}
    if settings.problems or not entries:
        return [_unreadable(str(value))]
    why = text("the descriptions are not used", "不使用其中的说明文字")
    return adopted(why, new_special_tokens=list(entries))


def resized(_value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Say that the embedding always fits the tokenizer."""
    why = text("the embedding always fits the tokens", "词嵌入总与词表一致")
    return [no_effect(why)]


def special_tokens(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate axolotl's special tokens: padding is never learned, further ones are new."""
    outcomes: list[KeyOutcome] = []
    for name, token in (value if isinstance(value, Mapping) else {}).items():
        if name == "pad_token":
            why = text("padding never contributes to the loss", "填充不会进入损失")
            outcomes.append(no_effect(why, f".{name}"))
        elif name == "additional_special_tokens":
            ours = {"new_special_tokens": split_names(token)}
            outcomes.append(KeyOutcome("adopted", ours, within=f".{name}"))
        else:
            why = text(
                "what ends an answer is read from the chat template; other tokens keep their role",
                "回答的结束符取自对话模板；其他特殊词元不变",
            )
            outcomes.append(unsupported(why, f".{name}"))
    return outcomes


def file_beside(name: str, foreign: ForeignConfig) -> str | None:
    """Return the text of a file by its path from here, or from a folder at or above the config."""
    places = [Path(name).expanduser()]
    if not fault_of_relative(name):
        places += [folder / name for folder in (foreign.folder, *foreign.folder.parents)]
    for place in places:
        try:
            return read_regular(place, MAX_BYTES).decode("utf-8-sig")
        except (OSError, ValueError):
            continue
    return None


def _unreadable(name: str) -> KeyOutcome:
    return unsupported(
        text(
            f"{name} cannot be read here: write the tokens as a list",
            f"此处无法读取 {name}：请直接列出这些词元",
        )
    )
