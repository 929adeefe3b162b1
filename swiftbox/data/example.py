"""What a row becomes: a conversation or a text, the same whatever format it was written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; `tool_calls` as OpenAI writes them."""

    role: str
    content: str
    tool_calls: tuple[Any, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what a chat template takes."""
        found: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            found["tool_calls"] = list(self.tool_calls)
        return found


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation with the tools it may use, or for pretraining a text."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Any, ...] = ()
    text: str | None = None


class RowError(ValueError):
    """A row that cannot be trained on; `kind` groups reasons, the text says it to the user."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
