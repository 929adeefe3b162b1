"""The shape of a table row: a key of another tool, and what becomes of it here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from swiftbox.language import text

Kind = Literal["taken", "replaced", "idle", "left", "refused"]


@dataclass(frozen=True)
class Written:
    """One setting of the foreign file, with its line."""

    key: str
    value: Any
    line: int


@dataclass(frozen=True)
class Given:
    """All that the file sets, and the folder it lies in: some keys mean something only together."""

    values: Mapping[str, Any]
    folder: Path
    script: bool = False

    def has(self, key: str) -> bool:
        """Tell whether a key is set to something that is neither blank nor off."""
        return bool(self.values.get(key))


@dataclass(frozen=True)
class Finding:
    """What becomes of a foreign key.

    taken: it becomes `ours`, and `why` says what differs, if anything; replaced: its settings
    were given by hand; idle: it means nothing here; left: it means something that cannot be done
    here; refused: the file cannot be imported with it, unless the keys of `ours` are given by hand.
    """

    kind: Kind
    ours: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    hint: str = ""
    within: str = ""
    """The part of a nested value that is meant, such as `[0].type`."""


How = Callable[[Any, Given], Sequence[Finding]]
"""Say what becomes of a value, knowing all other values."""

Rows = dict[str, How]


@dataclass(frozen=True)
class Added:
    """A default of the other tool that differs from ours, and so has to be written down."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Tool:
    """Another tool: how its configs are recognised, what its keys become, its own defaults."""

    name: str
    title: str
    marks: tuple[str, ...]
    """Keys that are usual there and foreign to the others and to us."""
    rows: Mapping[str, How]
    defaults: Callable[[Mapping[str, Any], Given], Sequence[Added]]
    """Given what was taken in our keys, name the defaults that the file relies on."""


def taken(why: str = "", **ours: Any) -> list[Finding]:
    """Say that a value becomes settings of ours."""
    return [Finding("taken", ours, why)]


def idle(why: str, within: str = "") -> Finding:
    """Say that a value means nothing here."""
    return Finding("idle", why=why, within=within)


def left(why: str, within: str = "") -> Finding:
    """Say that a value means something which is not done here."""
    return Finding("left", why=why, within=within)


def refused(why: str, hint: str, *keys: str) -> list[Finding]:
    """Say that a file with this value cannot be imported unless `keys` are given by hand."""
    return [Finding("refused", dict.fromkeys(keys), why, hint)]


def to(ours: str, words: Mapping[Any, Any] | None = None) -> How:
    """Make a row that keeps the value under our key, after replacing the values named."""

    def how(value: Any, _given: Given) -> list[Finding]:
        known = words is not None and isinstance(value, (str, int, float))
        return taken(**{ours: (words or {}).get(value, value) if known else value})

    return how


def idle_rows(en: str, zh: str, keys: str) -> Rows:
    """Make rows of keys that mean nothing here, all for the same reason."""

    def how(_value: Any, _given: Given) -> list[Finding]:
        return [idle(text(en, zh))]

    return dict.fromkeys(keys.split(), how)


def left_rows(en: str, zh: str, keys: str) -> Rows:
    """Make rows of keys that have no counterpart here; switched off they mean nothing."""

    def how(value: Any, _given: Given) -> list[Finding]:
        if value in (False, 0, "none", "no", "false"):
            return [idle(text("off there, and off here", "原本关闭，此处亦无"))]
        return [left(text(en, zh))]

    return dict.fromkeys(keys.split(), how)


def refused_rows(en: str, zh: str, hints: tuple[str, str], keys: str) -> Rows:
    """Make rows of keys with which nothing can be imported; switched off they mean nothing."""

    def how(value: Any, _given: Given) -> list[Finding]:
        if value in (False, 0, "false"):
            return [idle(text("off there, and off here", "原本关闭，此处亦无"))]
        return refused(text(en, zh), text(*hints))

    return dict.fromkeys(keys.split(), how)


def fixed(ours: Any) -> How:
    """Make a row of a key that has one value here."""

    def how(value: Any, _given: Given) -> list[Finding]:
        if number(value) == ours:
            return [idle(text("the same here", "此处相同"))]
        return [left(text(f"always {ours} here", f"此处固定为 {ours}"))]

    return how


def number(value: Any) -> Any:
    """Return a number that YAML 1.1 left as text (`1e-8`) as a number, anything else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def names(value: Any) -> list[str]:
    """Return the names in a list, or in text that separates them with commas."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def targets(value: Any, _given: Given) -> list[Finding]:
    """Translate the modules that get an adapter: a list, names with commas, or the word for all."""
    found = names(value)
    if any(name.lower() in ("all", "all-linear", "all_linear") for name in found):
        return taken(target_modules="all-linear")
    return taken(target_modules=found)
