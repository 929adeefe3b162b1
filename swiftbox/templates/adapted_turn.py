"""A turn of a conversation between its reading and its rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class AdaptedTurn:
    """A turn as it was read and as its template takes it; `index` is its place in the row."""

    role: str
    content: str
    index: int
    weight: float = 1.0
    reasoning: str = ""
    calls: tuple[Any, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_learned(self) -> bool:
        """Whether the model learns to write this turn."""
        return self.role == "assistant" and self.weight != 0
