"""Read the settings that a hint proposes, as alternatives that can be tried one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from hint_texts import settings
from proposals import OPEN

ALTERNATIVE = re.compile(r"(?:[;\n]|,? \bor\b |, )(?![^\[{]*[\]}])")
"""What separates alternatives, outside brackets."""

COMMAND = re.compile(r"`swiftbox[^`]*`|swiftbox [^`;,]*")
REMOVED = re.compile(r"(?:remove|leave out) ([a-z_]+)(?:: \S+)?")
WORD = re.compile(r"[a-z0-9_.-]+")

ELSEWHERE = (" machine", "quantize with", "merge ")
"""Words of a clause whose settings are for another machine, or for another task before this."""


def cures(hint: str) -> list[dict[str, Any]]:
    """Return the changes of settings that a hint proposes; None removes a setting.

    `set optim: auto, or remove packing` are two; `set a: 1 and b: 2` is one of two settings, and
    `set method: gptq or bnb` two of one setting. What the reader fills in is left out.
    """
    changes = _cures(COMMAND.sub("", hint).replace("`", ""))
    return [change for change in changes if not any(OPEN.search(str(v)) for v in change.values())]


def _cures(hint: str) -> Iterator[dict[str, Any]]:
    key = ""
    for part in ALTERNATIVE.split(hint):
        clause = part.strip()
        if any(word in clause for word in ELSEWHERE):
            key = ""
        elif removed := REMOVED.fullmatch(clause):
            yield {removed[1]: None}
        elif pairs := settings(f"set {clause}"):
            key = pairs[0][0]
            without = dict.fromkeys(re.findall(r" without ([a-z_]+)", clause))
            others = re.findall(r"\| ([a-z0-9_]+)", clause) if len(pairs) == 1 else []
            for value in (pairs[0][1], *others):
                yield {name: _value(text) for name, text in [*pairs, (key, value)]} | without
        elif key and WORD.fullmatch(clause):
            yield {key: _value(clause)}


def _value(text: str) -> Any:
    return text if OPEN.search(text) else yaml.safe_load(text)
