"""What happened to the rows while they were rendered: counts, each with its first place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from swiftbox.formatting import counted
from swiftbox.language import text

REASONING, CALL_NAME, CALL_ARGUMENTS, CONTENT = (
    "reasoning",
    "tool call name",
    "tool call arguments",
    "content",
)
"""Kinds of words that a template may drop."""


@dataclass
class Account:
    """Counts of turns and rows by what happened to them; picklable, and mergeable with `add`.

    `counts` has the number of each event, `places` the first file:line of each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def count(self, event: str, number: int = 1, place: str = "") -> None:
        """Count an event that happened at a place (file:line)."""
        self.counts[event] += number
        if place and event not in self.places:
            self.places[event] = place

    def add(self, other: Account, place: str = "") -> None:
        """Add another account; `place` is where its events happened if it does not say so."""
        self.counts.update(other.counts)
        for event in other.counts:
            origin = other.places.get(event, place)
            if origin and event not in self.places:
                self.places[event] = origin

    def data(self) -> dict[str, Any]:
        """Return the account as JSON values."""
        return {"counts": dict(self.counts), "places": dict(self.places)}

    @staticmethod
    def of(data: dict[str, Any]) -> Account:
        """Return the account that `data` wrote."""
        return Account(Counter(data.get("counts", {})), dict(data.get("places", {})))

    def lines(self) -> list[str]:
        """Return a line for each event, in the current language."""
        lines = []
        for event, number in self.counts.items():
            line = describe(event, number)
            if line:
                place = self.places.get(event)
                lines.append(
                    line + (text(f" (first: {place})", f"（首处：{place}）") if place else "")
                )
        return lines


def describe(event: str, number: int) -> str:
    """Return an event as a sentence; empty for what is not worth one."""
    return f"{event}: {counted(number, 'row')}"
