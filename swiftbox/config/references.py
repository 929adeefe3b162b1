"""References between the steps of a pipeline: `${train.adapter}` is what the step train made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

MARK = "${"
FORM = re.compile(r"\$\{([A-Za-z0-9][A-Za-z0-9_-]*)\.([a-z_]+)\}")


@dataclass(frozen=True)
class OutputReference:
    """One output of one step."""

    step: str
    output: str

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{MARK}{self.step}.{self.output}}}"


def is_reference(value: Any) -> bool:
    """Tell whether a text names what an earlier step will have made."""
    return isinstance(value, str) and FORM.search(value) is not None


def references(value: Any) -> Iterator[OutputReference]:
    """Yield the references in a value, at whatever depth."""
    for one in texts(value):
        yield from (OutputReference(*found.groups()) for found in FORM.finditer(one))


def misspelt(value: Any) -> str:
    """Return a text that begins a reference and is none; empty where all are well formed."""
    return next((one for one in texts(value) if MARK in FORM.sub("", one)), "")


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a value of texts, numbers, lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts(one)


def replaced(value: Any, by: Callable[[OutputReference], str]) -> Any:
    """Return the value with every reference in it replaced."""
    if isinstance(value, str):
        return FORM.sub(lambda found: by(OutputReference(*found.groups())), value)
    if isinstance(value, dict):
        return {key: replaced(one, by) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(replaced(one, by) for one in value)
    return value
