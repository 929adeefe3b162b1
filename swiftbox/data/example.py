"""What a row becomes: a conversation or a text, whatever format it was written in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from swiftbox.language import text

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn; `tool_calls` in OpenAI's format, `extra` holds further keys that templates read.

    `weight` is the weight of an assistant turn in the loss: a turn of weight 0 is not learned.
    """

    role: str
    content: str
    tool_calls: tuple[Any, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    weight: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the turn as chat templates take it: with arguments of calls as objects, not JSON.

        https://huggingface.co/docs/transformers/chat_extras (templates write them with `tojson`).
        """
        turn: dict[str, Any] = {"role": self.role, "content": self.content, **dict(self.extra)}
        if self.tool_calls:
            turn["tool_calls"] = [_with_object(call) for call in self.tool_calls]
        return turn


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return {**call, "function": {**function, "arguments": arguments}}


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation with the tools it may use, or a text for pretraining.

    A preference has two conversations that begin with the same turns: `messages` is the chosen
    one. A labelled answer has a `label`. A prompt to answer ends with the user's turn and carries
    the row's other `columns` for reward functions. What is classified has a `target`.
    """

    messages: tuple[Turn, ...] = ()
    tools: tuple[Any, ...] = ()
    text: str | None = None
    rejected: tuple[Turn, ...] = ()
    """The complete rejected conversation of a preference."""
    margin: float | None = None
    """The margin by which the chosen answer is better; for reward models."""
    label: bool | None = None
    """Whether the answer is desirable (KTO)."""
    columns: tuple[tuple[str, Any], ...] = ()
    target: Any = None
    """The label, the labels (a tuple) or the number to predict, as the row has it."""
    second: str | None = None
    """The second text of a pair of texts that is classified."""
    unused: tuple[str, ...] = field(default=(), compare=False)
    """Columns of the row that nobody read, and keys of its turns (`messages: language`)."""
    cut: int = field(default=0, compare=False)
    """Turns after the last answer that were cut off."""

    def with_unused(self, unused: tuple[str, ...]) -> Example:
        """Return it with the names that nobody read; dataclasses.replace takes thrice the time."""
        return Example(
            self.messages,
            self.tools,
            self.text,
            self.rejected,
            self.margin,
            self.label,
            self.columns,
            self.target,
            self.second,
            unused,
            self.cut,
        )


UNKNOWN_COLUMNS = "columns"
"""The kind of rows whose columns no format reads, or not surely."""

NOTHING_TO_LEARN = "nothing to learn"
"""The kind of rows whose turns all have weight 0: they are skipped and counted, not bad."""


class RowError(ValueError):
    """A row that cannot be trained on: `kind` groups reasons, `en` and `zh` explain it."""

    def __init__(self, kind: str, en: str, zh: str) -> None:
        super().__init__(en)
        self.kind = kind
        self.en = en
        self.zh = zh

    def __reduce__(self) -> tuple[type[RowError], tuple[str, str, str]]:
        """Return how the error is made again in another process."""
        return RowError, (self.kind, self.en, self.zh)

    @property
    def reason(self) -> str:
        """Return the reason in the current language."""
        return text(self.en, self.zh)


def without_nulls(value: Any) -> Any:
    """Return a value whose objects have no nulls: files with typed columns pad objects with them.

    Tuples become lists.
    """
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [without_nulls(item) for item in value]
    return value


def kind_of(value: Any) -> str:
    """Return the JSON name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), type(value).__name__)
