"""References between the steps of a pipeline: `${train.adapter}` is an output of the step train."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPENING = "${"
PATTERN = re.compile(r"\$\{([A-Za-z0-9][A-Za-z0-9_-]*)\.([a-z_]+)\}")


@dataclass(frozen=True)
class OutputReference:
    """One output of one step."""

    step: str
    output: str

    def __str__(self) -> str:
        """Return the reference as written in YAML."""
        return f"{OPENING}{self.step}.{self.output}}}"


def is_reference(value: Any) -> bool:
    """Return whether a text contains an output of an earlier step."""
    return isinstance(value, str) and PATTERN.search(value) is not None


def is_served_address(value: Any) -> bool:
    """Return whether an address begins with an output: `${serve.url}`, or `${serve.url}/v1`.

    An output at any other place leaves the host to the file.
    """
    match = PATTERN.match(value) if isinstance(value, str) else None
    return match is not None and value[match.end() :][:1] in ("", "/")


def references_in(value: Any) -> Iterator[OutputReference]:
    """Yield the references in a value, at any depth."""
    for part in texts_in(value):
        yield from (OutputReference(*match.groups()) for match in PATTERN.finditer(part))


def misspelt(value: Any) -> str:
    """Return a text with a malformed reference; empty where all are well formed."""
    return next((part for part in texts_in(value) if OPENING in PATTERN.sub("", part)), "")


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value of texts, numbers, lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)


def substitute(value: Any, replace: Callable[[OutputReference], str]) -> Any:
    """Return the value with every reference in it replaced."""
    if isinstance(value, str):
        return PATTERN.sub(lambda match: replace(OutputReference(*match.groups())), value)
    if isinstance(value, dict):
        return {key: substitute(item, replace) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(substitute(item, replace) for item in value)
    return value
