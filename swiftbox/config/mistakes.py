"""Describe mistakes in settings to people: the key, its place, what it should be, what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from swiftbox.config.clear_values import UnclearValue
from swiftbox.config.fields import Card
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry, quoted
from swiftbox.formatting import nearest, plain_number, suggestion_ending
from swiftbox.language import text

SHORTHAND = {
    "lr": "learning_rate",
    "bs": "per_device_train_batch_size",
    "rank": "lora_rank",
    "alpha": "lora_alpha",
}
"""Common abbreviations, which are not spelled like their keys."""

BOUNDS = {
    "greater_than": ("greater than", "大于", "gt"),
    "greater_than_equal": ("at least", "至少为", "ge"),
    "less_than": ("less than", "小于", "lt"),
    "less_than_equal": ("at most", "至多为", "le"),
}

KINDS = {
    "text": ("text", "文字"),
    "integer": ("a whole number", "整数"),
    "number": ("a number", "数字"),
    "boolean": ("true or false", "true 或 false"),
    "list": ("a list or mapping", "列表或映射"),
    "choice": ("one of the choices", "可选值之一"),
}

KIND_OF_TYPE = {
    "string": "text",
    "int": "integer",
    "float": "number",
    "finite": "number",
    "bool": "boolean",
}
"""The kind that pydantic expects, by the first word of the error's type; any other is a list."""


def unknown_key(
    key: str, entry: YamlEntry, known: Iterable[str], elsewhere: Mapping[str, str]
) -> ConfigProblem:
    """Describe a key that this config does not have, with the nearest that it has."""
    if key in elsewhere:
        what = text(f"belongs to {elsewhere[key]}", f"属于 {elsewhere[key]}")
    else:
        what = text("is not a known key", "不是已知的键") + suggestion_ending(
            nearest_key(key, known)
        )
    return ConfigProblem(entry.where, key, what, entry.order)


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Return the known key that was most likely meant; empty when none is near.

    By abbreviation, by spelling, then as a part of a longer name (`epochs`).
    """
    names = list(known)
    if SHORTHAND.get(key) in names:
        return SHORTHAND[key]
    if close := nearest(key, names):
        return close
    containing = [name for name in names if not {key, key + "s"}.isdisjoint(name.split("_"))]
    return next(iter(containing), "") or nearest(key, names, cutoff=0.5)


def not_a_choice(value: Any, choices: Sequence[str], *, cutoff: float = 0.5) -> str:
    """Describe a value that is not among the choices, with the nearest choice."""
    current = got(value)
    end = suggestion_ending(nearest(str(value), choices, cutoff=cutoff))
    if len(choices) == 1:
        return text(f"should be {choices[0]}{current}", f"应为 {choices[0]}{current}")
    listed = ", ".join(choices)
    return text(f"should be one of {listed}{current}{end}", f"应为其中之一：{listed}{current}{end}")


def got(value: Any) -> str:
    """Return the part of a message that quotes the value."""
    if value is None:
        return text(" (it is empty)", "（当前为空）")
    return text(f" (got {quoted(value)})", f"（当前为 {quoted(value)}）")


def problems_of(
    error: ValidationError, settings: Settings, described: Mapping[str, Card]
) -> Iterator[ConfigProblem]:
    """Describe every mistake that pydantic found, each once, at the key that it concerns."""
    by_key: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False, include_context=True):
        if detail["loc"]:
            by_key.setdefault(str(detail["loc"][0]), []).append(detail)
        else:
            yield from _combination_problems(str(detail["ctx"]["error"]), settings)
    for key, details in by_key.items():
        entry, card = settings.entries.get(key), described.get(key)
        if entry is None:
            yield ConfigProblem(settings.source, key, is_required(card), settings.first_line)
            continue
        for what in dict.fromkeys(_value_errors(details, entry, card)):
            yield ConfigProblem(entry.where, key, what, entry.order)


def is_required(card: Card | None) -> str:
    """Describe a key that is missing, with its help."""
    meaning = f" ({card.help})" if card else ""
    return text(f"is required{meaning}", f"必须填写{meaning}")


def _combination_problems(message: str, settings: Settings) -> Iterator[ConfigProblem]:
    """Describe settings that exclude each other; each line begins with the key to look at."""
    for line in message.splitlines():
        key, _, what = line.partition(": ")
        entry = settings.entries.get(key)
        if entry is None:
            yield ConfigProblem(settings.source, "", line, settings.first_line)
        else:
            yield ConfigProblem(entry.where, key, what, entry.order)


Path = tuple[str | int, ...]


def _value_errors(details: Sequence[Any], entry: YamlEntry, card: Card | None) -> Iterator[str]:
    """Describe what is wrong with a value; of a list or mapping, what is wrong inside it.

    Pydantic reports a value for every member of a union that refuses it: the reports that lead
    furthest into the value say most.
    """
    paths = [_path(detail, entry.value) for detail in details]
    bounded = any(detail["type"] in BOUNDS for detail in details)
    for detail, path in zip(details, paths, strict=True):
        if bounded and detail["type"] == "literal_error":
            continue  # a number that is out of bounds is not meant as a word
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in paths)
        if deeper:
            continue
        if not path:
            yield _describe(detail, entry.value, card)
        else:
            what = _describe(detail, detail["input"], None)
            yield text(f"{_place(path)}: {what}", f"{_place(path)}：{what}")


def _path(detail: Any, value: Any) -> Path:
    """Follow an error's location into a value, without the names that pydantic gives to types."""
    path: Path = ()
    for part in detail["loc"][1:]:
        in_list = isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value)
        if in_list or (isinstance(value, dict) and part in value):
            path, value = (*path, part), value[part]
    missing = detail["type"] == "missing" and isinstance(value, dict)
    return (*path, detail["loc"][-1]) if missing else path


def _place(path: Path) -> str:
    """Name a place inside a value: `item 2, weight`."""
    items = [
        text(f"item {part + 1}", f"第 {part + 1} 项") if isinstance(part, int) else str(part)
        for part in path
    ]
    return text(", ", "，").join(items)


def _describe(detail: Any, value: Any, card: Card | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if isinstance(detail["input"], UnclearValue):
        value = detail["input"]
    if kind == "missing":
        return is_required(card)
    if kind == "extra_forbidden":
        return text("is not a known key", "不是已知的键")
    if kind in BOUNDS:
        english, chinese, name = BOUNDS[kind]
        limit = f"{plain_number(context[name])}{got(value)}"
        return text(f"should be {english} {limit}", f"应{chinese} {limit}")
    if kind == "value_error":
        return f"{context['error']}{got(value)}"
    if card and card.choices:
        return not_a_choice(value, card.choices, cutoff=0.4)
    if kind in ("string_too_short", "too_short"):
        return text("should not be empty", "不能为空")
    expected = card.kind if card else KIND_OF_TYPE.get(kind.partition("_")[0], "list")
    english, chinese = KINDS[expected]
    for word in card.keywords if card else ():
        english, chinese = f"{word} or {english}", f"{word} 或{chinese}"
    return text(f"should be {english}{got(value)}", f"应为{chinese}{got(value)}")
