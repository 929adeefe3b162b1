"""Values that mean what a reader sees: YAML 1.1 reads `010` as 8, `1:30` as 90, `on` as true.

Where a setting takes a number, only decimal digits are a number; where it takes true or false,
only these words and their synonyms are. Texts become paths, so none holds a control character.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from swiftbox.config.fields import literals_of, union_members
from swiftbox.config.groups import DATASET_KEYS, MODEL_KEYS
from swiftbox.config.reading import quoted
from swiftbox.language import text

DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
TRUE_FALSE = frozenset({"true", "false"})
BOOLEAN_WORDS = TRUE_FALSE | {"yes", "no", "on", "off"}

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and newline, and bytes that are not UTF-8."""

PATHS = frozenset({*MODEL_KEYS, *DATASET_KEYS}) | frozenset(
    "output_dir template reward_funcs benchmark_dir local_dir".split()
)
"""Settings that name files or folders."""

EXPRESSIONS = frozenset(
    "target_modules exclude_modules rank_pattern alpha_pattern freeze_parameters "
    "trainable_parameters".split()
)
"""Settings that take regular expressions."""

PROSE = frozenset({"prompt", "system"})
"""Settings that hold sentences; these may be empty, and begin with any letter."""

COLUMNS = "columns"

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4095
"""Of a file name and of a path on Linux and macOS, without the zero at the end."""


@dataclass(frozen=True)
class UnclearValue:
    """A value that YAML reads as another than a person does; no setting takes it."""

    written: str
    meaning: str = ""

    def __str__(self) -> str:
        """Return what was written, and how YAML reads it."""
        if not self.meaning or self.meaning == self.written:
            return self.written
        return text(
            f"{self.written}, which YAML reads as {self.meaning}",
            f"{self.written}，YAML 读作 {self.meaning}",
        )


def clear_value(annotation: Any, value: Any, plain: str | None, node: Any) -> Any:
    """Return a value for a setting of that type, with UnclearValue in place of what misleads.

    `plain` is its text if it is a scalar, `node` its YAML node if it is a list or mapping.
    """
    members = union_members(annotation)
    if isinstance(value, (list, dict)):
        takes_booleans = any(Any in get_args(member) for member in members)
        return _clear_items(value, node, takes_booleans=takes_booleans)
    if bool in members:
        return _clear_boolean(value, plain)
    if int in members or float in members or _takes_whole_numbers(members):
        is_word = isinstance(value, str) and value in literals_of(annotation)
        return value if is_word else _clear_number(value, plain)
    return value


def _takes_whole_numbers(members: tuple[Any, ...]) -> bool:
    choices = [choice for member in members for choice in getattr(member, "__args__", ())]
    return any(isinstance(choice, int) for choice in choices)


def _clear_boolean(value: Any, plain: str | None) -> Any:
    is_word = isinstance(value, str) and value.lower() in BOOLEAN_WORDS
    if value is None or isinstance(value, bool) or is_word:
        return value
    return UnclearValue(plain if plain is not None else str(value))


def _clear_number(value: Any, plain: str | None) -> Any:
    written = plain if plain is not None else str(value)
    if isinstance(value, bool):
        return UnclearValue(written, str(value).lower())
    if isinstance(value, (int, float)):
        return value if DECIMAL.fullmatch(written) else UnclearValue(written, _digits(value))
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        return UnclearValue(value)
    return value


def _digits(value: float) -> str:
    """Write a number; one of thousands of digits cannot be written."""
    try:
        return str(value)
    except ValueError:
        return text("a number of thousands of digits", "数千位的数")


def _clear_items(value: Any, node: Any, *, takes_booleans: bool) -> Any:
    """Return a list or mapping whose misleading items are UnclearValue.

    Only items of any type may be booleans, and only as `true` and `false`.
    """
    if isinstance(value, list):
        is_list = isinstance(node, yaml.SequenceNode) and len(node.value) == len(value)
        nodes = node.value if is_list else [None] * len(value)
        return [
            _clear_items(item, child, takes_booleans=takes_booleans)
            for item, child in zip(value, nodes, strict=True)
        ]
    if isinstance(value, dict):
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        children = {str(key.value): child for key, child in pairs}
        return {
            key: _clear_items(item, children.get(str(key)), takes_booleans=takes_booleans)
            for key, item in value.items()
        }
    if isinstance(value, (bool, int, float)):
        plain = node.value if isinstance(node, yaml.ScalarNode) else None
        is_boolean = isinstance(value, bool) and str(plain or value).lower() in TRUE_FALSE
        return value if takes_booleans and is_boolean else _clear_number(value, plain)
    return value


# ---- texts


def text_problems(key: str, value: Any) -> Iterator[str]:
    """Yield what is wrong with the texts in a value, whatever the setting."""
    if key not in (*PROSE, COLUMNS) and _has_line_break(value):
        yield text("contains a line break", "含有换行")
    for part in _texts(value):
        if control := CONTROL.search(part):
            yield _control_character(control.group())
        elif key not in PROSE and not part.strip():
            yield text("should not be empty", "不能为空")
        elif key in PATHS:
            yield from _path_problems(part)
        elif key in EXPRESSIONS:
            yield from _expression_problems(part)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _has_line_break(value: Any) -> bool:
    """Tell whether a text has one, which would let it pose as a line of a message.

    A column of a data file may have one in its name.
    """
    if isinstance(value, dict):
        items = [(name, item) for name, item in value.items() if name != COLUMNS]
        return any(_has_line_break(name) or _has_line_break(item) for name, item in items)
    if isinstance(value, list):
        return any(map(_has_line_break, value))
    return isinstance(value, str) and ("\n" in value or "\r" in value)


def _control_character(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":
        return text("is not UTF-8 text", "不是 UTF-8 文字")
    code = f"U+{ord(letter):04X}"
    return text(f"contains the control character {code}", f"含有控制字符 {code}")


def _expression_problems(expression: str) -> Iterator[str]:
    try:
        re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        shown = quoted(expression)
        yield text(
            f"{shown} is not a regular expression: {error}", f"{shown} 不是正则表达式：{error}"
        )


def _path_problems(path: str) -> Iterator[str]:
    names = path.split("/")
    if len(path.encode()) > MAX_PATH_BYTES:
        yield text("is longer than a path may be", "超过路径的长度上限")
    elif any(len(name.encode()) > MAX_NAME_BYTES for name in names):
        yield text("has a name longer than a file name may be", "其中有名称超过文件名的长度上限")
    elif path.startswith("~") and os.path.expanduser(path).startswith("~"):
        yield text(
            f"{names[0]} is not the home of a user on this machine; write the path in full",
            f"{names[0]} 不是本机用户的主目录；请写完整路径",
        )
