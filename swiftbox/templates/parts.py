"""A rendering in parts, learned and not learned, cut at the boundaries of its tokens.

A token is learned if its first character is, as in the training (core/data/encode.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.templates.renderings import LearnedSpan, Rendering

Offsets = Sequence[tuple[int, int]]
"""The first character of each token, and the one behind its last."""


@dataclass(frozen=True)
class TextPart:
    """A part of a rendered text; `weight` is its weight in the loss, 0 if it is not learned."""

    text: str
    weight: float

    @property
    def learned(self) -> bool:
        """Tell whether the part is learned."""
        return self.weight > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; a weight of 1 is not written."""
        part: dict[str, Any] = {"text": self.text, "learned": self.learned}
        if self.learned and self.weight != 1:
            part["weight"] = self.weight
        return part


def parts_of(rendering: Rendering, offsets: Offsets | None, limit: int) -> list[TextPart]:
    """Return a rendering in parts, up to the first `limit` tokens.

    Without `offsets` the parts end where the learned text does, and nothing is cut off.
    """
    text = rendering.text
    if offsets is None:
        starts = _edges(rendering.spans, len(text))
    else:
        starts = [start for start, _ in offsets[:limit]]
        if len(offsets) > limit:
            text = text[: offsets[limit][0]]
    return list(_joined(text, starts, rendering.spans))


def _edges(spans: Sequence[LearnedSpan], length: int) -> list[int]:
    edges = {0, *(span.start for span in spans), *(span.end for span in spans)}
    return sorted(edge for edge in edges if edge < length)


def _joined(text: str, starts: Sequence[int], spans: Sequence[LearnedSpan]) -> Iterator[TextPart]:
    """Yield the longest parts of one weight; each begins where one of `starts` is."""
    begin, weight = 0, None
    for start in starts:
        current = _weight_at(start, spans)
        if weight is not None and current != weight and start > begin:
            yield TextPart(text[begin:start], weight)
            begin = start
        weight = current
    if begin < len(text):
        yield TextPart(text[begin:], weight or 0.0)


def _weight_at(position: int, spans: Sequence[LearnedSpan]) -> float:
    return next((span.weight for span in spans if span.start <= position < span.end), 0.0)


def learned_tokens(spans: Sequence[LearnedSpan], offsets: Offsets, limit: int) -> int:
    """Count the learned tokens among the first `limit`; nothing predicts the first one."""
    return sum(_weight_at(start, spans) > 0 for start, _ in offsets[1:limit])
