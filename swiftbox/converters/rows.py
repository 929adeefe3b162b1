"""The rows of a converter's table: how a key of another tool is translated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from swiftbox.language import text

MAX_COUNT = 2**40
"""No file means a larger number; floats are exact up to it."""

Kind = Literal["adopted", "replaced", "no_effect", "unsupported", "refused"]


@dataclass(frozen=True)
class ForeignSetting:
    """One setting of a foreign file, with its line."""

    key: str
    value: Any
    line: int


@dataclass(frozen=True)
class ForeignConfig:
    """All settings of a file and its folder: some keys have a meaning only together."""

    values: Mapping[str, Any]
    folder: Path
    script: bool = False

    def has(self, key: str) -> bool:
        """Tell whether a key is set to something other than blank or off."""
        return bool(self.values.get(key))


@dataclass(frozen=True)
class KeyOutcome:
    """The outcome of translating a foreign key.

    adopted: it sets `ours`, and `why` says what differs, if anything; replaced: the command line
    sets everything that it sets; no_effect: it has no meaning in swiftbox; unsupported: swiftbox
    cannot do what it asks for; refused: the file cannot be imported with it, unless the command
    line sets the keys of `ours`.
    """

    kind: Kind
    ours: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    hint: str = ""
    within: str = ""
    """The part of a nested value that this concerns, such as `[0].type`."""


Translate = Callable[[Any, ForeignConfig], Sequence[KeyOutcome]]
"""Translates a value, given all other values of the file."""

Rows = dict[str, Translate]


@dataclass(frozen=True)
class AddedDefault:
    """A default of the other tool that differs from swiftbox's, so it has to be explicit."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class ForeignTool:
    """Another tool: how to recognize its configs, how to translate its keys, its defaults."""

    name: str
    title: str
    marks: tuple[str, ...]
    """Keys that are usual in its configs and unknown to the other tools and to swiftbox."""
    rows: Mapping[str, Translate]
    defaults: Callable[[Mapping[str, Any], ForeignConfig], Sequence[AddedDefault]]
    """From the adopted keys and the file to the defaults of the tool that the file relies on."""


def adopted(why: str = "", **ours: Any) -> list[KeyOutcome]:
    """Return the outcome of a value that sets keys of swiftbox."""
    return [KeyOutcome("adopted", ours, why)]


def no_effect(why: str, within: str = "") -> KeyOutcome:
    """Return the outcome of a value that has no effect in swiftbox."""
    return KeyOutcome("no_effect", why=why, within=within)


def unsupported(why: str, within: str = "") -> KeyOutcome:
    """Return the outcome of a value that asks for something swiftbox cannot do."""
    return KeyOutcome("unsupported", why=why, within=within)


def refused(why: str, hint: str, *keys: str) -> list[KeyOutcome]:
    """Return the outcome of a value that prevents an import unless `keys` are overridden."""
    return [KeyOutcome("refused", dict.fromkeys(keys), why, hint)]


def renamed(ours: str, replacements: Mapping[Any, Any] | None = None) -> Translate:
    """Return a row that keeps the value under another key, after the given replacements."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        return adopted(**{ours: replaced(value, replacements or {})})

    return translate


def replaced(value: Any, replacements: Mapping[Any, Any]) -> Any:
    """Return a replacement of a value; anything else, such as a list, stays as it is."""
    return replacements.get(value, value) if isinstance(value, (str, int, float)) else value


def whole_number(value: Any, default: int) -> int:
    """Return a whole number; `default` for anything else."""
    count = number(value)
    is_count = isinstance(count, (int, float)) and not isinstance(count, bool)
    return int(count) if is_count and abs(count) < MAX_COUNT and count == int(count) else default


def no_effect_rows(en: str, zh: str, keys: str) -> Rows:
    """Return rows for keys without a meaning in swiftbox, all for the same reason."""

    def translate(_value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        return [no_effect(text(en, zh))]

    return dict.fromkeys(keys.split(), translate)


def unsupported_rows(en: str, zh: str, keys: str) -> Rows:
    """Return rows for keys without a counterpart; switched off they have no effect."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        if value in (False, 0, "none", "no", "false"):
            return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
        return [unsupported(text(en, zh))]

    return dict.fromkeys(keys.split(), translate)


def refused_rows(en: str, zh: str, hints: tuple[str, str], keys: str) -> Rows:
    """Return rows for keys that prevent an import; switched off they have no effect."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        if value in (False, 0, "false"):
            return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
        return refused(text(en, zh), text(*hints))

    return dict.fromkeys(keys.split(), translate)


def constant(ours: Any) -> Translate:
    """Return a row for a key that is a constant in swiftbox."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        if number(value) == ours:
            return [no_effect(text("the same value here", "此处相同"))]
        return [unsupported(text(f"always {ours} here", f"此处固定为 {ours}"))]

    return translate


def number(value: Any) -> Any:
    """Convert a number that YAML 1.1 reads as text (`1e-8`); return anything else unchanged."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def split_names(value: Any) -> list[str]:
    """Return the names in a list or in a comma-separated text."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def adapter_targets(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the modules that get an adapter: a list, comma-separated names, or `all`."""
    modules = split_names(value)
    if any(name.lower() in ("all", "all-linear", "all_linear") for name in modules):
        return adopted(target_modules="all-linear")
    return adopted(target_modules=modules)
