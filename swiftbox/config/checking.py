"""Turn the settings that were read into a typed config, or into every mistake with its cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from swiftbox.config.fields import Card, cards, union_members
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry, plain_text
from swiftbox.language import text

Config = TypeVar("Config", bound=BaseModel)


def build(model: type[Config], settings: Settings, elsewhere: Mapping[str, str]) -> Config | None:
    """Make the config; on mistakes add them to `settings.problems` and return None.

    `elsewhere` maps keys that other stages own to the words that name those stages.
    """
    described = {one.name: one for one in cards(model)}
    values: dict[str, Any] = {}
    for key, entry in settings.entries.items():
        if key not in described:
            settings.problems.append(unknown(key, entry, described, elsewhere))
        else:
            values[key] = _wanted(model, key, entry)
    _drop_out_of_scope(described, values, settings)
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True):
            settings.problems.append(_problem(detail, settings, described))
        return None
    return config


def unknown(
    key: str, entry: YamlEntry, known: Iterable[str], elsewhere: Mapping[str, str]
) -> ConfigProblem:
    """Describe a key that means nothing here, with the nearest that does."""
    if key in elsewhere:
        what = text(f"belongs to {elsewhere[key]}", f"属于 {elsewhere[key]}")
    else:
        near = nearest(key, known)
        what = text("is not a known key", "不是已知的键")
        if near:
            what += text(f"; did you mean {near}?", f"；是否想写 {near}？")
    return ConfigProblem(entry.where, key, what, entry.order)


SHORTHAND = {
    "lr": "learning_rate",
    "bs": "per_device_train_batch_size",
    "rank": "lora_rank",
    "alpha": "lora_alpha",
}
"""What people write who think of a formula; spelling does not lead there."""


def nearest(key: str, known: Iterable[str]) -> str:
    """Return the known key that was most likely meant; empty when none is near.

    By spelling, then as a part of a longer name (`epochs`).
    """
    names = list(known)
    if SHORTHAND.get(key) in names:
        return SHORTHAND[key]
    if near := difflib.get_close_matches(key, names, n=1, cutoff=0.6):
        return near[0]
    within = [name for name in names if key in name.split("_") or f"{key}s" in name.split("_")]
    loose = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return next(iter([*within, *loose]), "")


def _wanted(model: type[BaseModel], key: str, entry: YamlEntry) -> Any:
    """Undo what YAML 1.1 made of a word where a word is wanted."""
    members = union_members(model.model_fields[key].annotation)
    if isinstance(entry.value, bool) and any("true" in getattr(m, "__args__", ()) for m in members):
        return str(entry.value).lower()
    takes_text = any(one is str for one in members) or _is_word_choice(members)
    takes_made = any(one in (int, float, bool) for one in members)
    if takes_text and not takes_made and entry.value is not None:
        return plain_text(entry)
    return entry.value


def _is_word_choice(members: tuple[Any, ...]) -> bool:
    return any(
        all(isinstance(value, str) for value in getattr(one, "__args__", (0,))) for one in members
    )


def _drop_out_of_scope(
    described: Mapping[str, Card], values: dict[str, Any], settings: Settings
) -> None:
    """Leave out what means nothing with the choices made, and say so."""
    chosen = {key: values.get(key, one.default) for key, one in described.items()}
    for key in list(values):
        card = described[key]
        if card.applies(chosen):
            continue
        del values[key]
        scope = ", ".join(
            f"{other}: {' | '.join(map(str, wanted))}" for other, wanted in card.only.items()
        )
        where = settings.entries[key].where
        settings.notes.append(
            text(
                f"{where} {key} is not used: it matters only with {scope}",
                f"{where} {key} 未使用：仅在 {scope} 时有意义",
            )
        )


def _problem(detail: Any, settings: Settings, described: Mapping[str, Card]) -> ConfigProblem:
    if not detail["loc"]:
        return _of_several(str(detail["ctx"]["error"]), settings)
    key = str(detail["loc"][0])
    entry = settings.entries.get(key)
    if entry is None:
        where, order = settings.source, settings.first
    else:
        where, order = entry.where, entry.order
    return ConfigProblem(where, key, _say(detail, entry, described.get(key)), order)


def _of_several(said: str, settings: Settings) -> ConfigProblem:
    """Describe settings that do not go together; the words begin with the key to look at."""
    key, _, what = said.partition(": ")
    entry = settings.entries.get(key)
    if entry is None:
        return ConfigProblem(settings.source, "", said, settings.first)
    return ConfigProblem(entry.where, key, what, entry.order)


def _say(detail: Any, entry: YamlEntry | None, card: Card | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing" or entry is None:
        help_text = f" ({card.help})" if card else ""
        return text(f"is required{help_text}", f"必须填写{help_text}")
    got = text(f" (got {entry.value})", f"（当前为 {entry.value}）")
    bounds = {
        "greater_than": ("greater than", "大于", "gt"),
        "greater_than_equal": ("at least", "至少为", "ge"),
        "less_than": ("less than", "小于", "lt"),
        "less_than_equal": ("at most", "至多为", "le"),
    }
    if kind in bounds:
        english, chinese, name = bounds[kind]
        limit = f"{context[name]:g}"
        return text(f"should be {english} {limit}{got}", f"应{chinese} {limit}{got}")
    if kind == "value_error":
        return f"{context['error']}{got}"
    if card and card.choices:
        near = difflib.get_close_matches(str(entry.value), card.choices, n=1, cutoff=0.4)
        listed = ", ".join(card.choices)
        end = text(f"; did you mean {near[0]}?", f"；是否想写 {near[0]}？") if near else ""
        return text(f"should be one of {listed}{got}{end}", f"应为其中之一：{listed}{got}{end}")
    names = {
        "text": ("text", "文字"),
        "integer": ("a whole number", "整数"),
        "number": ("a number", "数字"),
        "boolean": ("true or false", "true 或 false"),
        "list": ("a list or mapping", "列表或映射"),
        "choice": ("one of the choices", "可选值之一"),
    }
    if kind in ("string_too_short", "too_short"):
        return text("should not be empty", "不能为空")
    english, chinese = names[card.kind] if card else ("?", "?")
    return text(f"should be {english}{got}", f"应为{chinese}{got}")
