"""Rows that a script of ms-swift encodes first, by `swift export --to_cached_dataset true`.

Encoded rows are not read here. Where the same script names the rows that they come from, those are
learned: they are encoded again, once, and cached.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from swiftbox.converters.rows import (
    ForeignConfig,
    ForeignSetting,
    KeyOutcome,
    Rows,
    no_effect,
    unsupported,
)
from swiftbox.converters.shell import Command, Word, invocations, options_of
from swiftbox.language import text

CACHES = ("cached_dataset", "cached_val_dataset")
"""Keys of a training command that name encoded rows."""

EXPORTED = "to_cached_dataset"
"""The key of an export command that encodes rows; with the rows it becomes one of the training."""

OF_ROWS = frozenset(
    "dataset val_dataset split_dataset_ratio columns system template loss_scale max_length "
    "truncation_strategy use_chat_template custom_dataset_info custom_register_path "
    "model_name model_author enable_thinking add_non_thinking_prefix agent_template "
    "data_seed dataset_shuffle streaming interleave_prob stopping_strategy strict".split()
)
"""Keys of an export command that decide which rows there are, and their tokens."""


def exported_rows(script: str, command: Command) -> tuple[ForeignSetting, ...]:
    """Return the settings of the export command that encodes a training's rows.

    Those that the training command sets as well are left out. Empty unless one export command of
    the script writes all of the encoded rows, and the training names no others.
    """
    values = {entry.key: entry.value for entry in command.entries}
    caches = [path for key in CACHES for path in _paths(values.get(key))]
    if not caches or "dataset" in values:
        return ()
    for invocation in invocations(script):
        options = _options_of_export(invocation.command)
        exported = {option.key: option.value for option in options}
        folder = exported.get("output_dir")
        is_complete = "dataset" in exported and exported.get(EXPORTED) is True and folder
        if is_complete and all(_is_within(path, str(folder)) for path in caches):
            chosen = (*OF_ROWS, EXPORTED)
            return tuple(
                option for option in options if option.key in chosen and option.key not in values
            )
    return ()


def _options_of_export(command: tuple[Word, ...]) -> list[ForeignSetting]:
    for index, (word, following) in enumerate(pairwise(command)):
        if PurePosixPath(word.text).name == "swift" and following.text == "export":
            return options_of(list(command[index + 2 :]))[0]
    return []


def _paths(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(path) for path in value] if isinstance(value, list) else [str(value)]


def _is_within(path: str, folder: str) -> bool:
    """Whether a path is in a folder, or the folder itself, as both are written."""
    return PurePosixPath(path).is_relative_to(PurePosixPath(folder))


def cache(_value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Say where the rows of a training come from that names encoded ones."""
    if foreign.has(EXPORTED):
        why = text(
            "its rows are those of dataset, which an export command of this script encodes",
            "其中的行来自 dataset：同一脚本中的导出命令由它编码而成",
        )
        return [no_effect(why)]
    return [unsupported(text("encoded rows are not read here", "此处不读取编码后的数据"))]


def export(_value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Say that rows are encoded when a training starts."""
    why = text(
        "rows are encoded and cached when a training starts",
        "训练开始时即编码数据并缓存",
    )
    return [no_effect(why)]


EXPORT_ROWS: Rows = {**dict.fromkeys(CACHES, cache), EXPORTED: export}
