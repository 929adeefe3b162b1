"""Charts of a report as inline SVG: bars with intervals, and dots per subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.evaluation.markup import escape
from swiftbox.evaluation.table import percent
from swiftbox.formatting import cut
from swiftbox.language import text

WIDTH, NAMES, VALUES = 760, 170, 150
"""Pixels: the chart, its column of names, and its column of numbers on the right."""

ROW, BAR, TOP = 34, 16, 22
SUBJECT_ROW, DOT = 14, 4
COLOURS = 6

Score = Mapping[str, Any]


def x_of(share: float) -> float:
    """Return the x coordinate of a share between the names and the numbers."""
    return NAMES + (WIDTH - NAMES - VALUES) * min(1.0, max(0.0, share))


def bars(scores: Sequence[Score], *, chance: float | None) -> str:
    """Draw a bar per candidate with its 95 % interval; a dashed line marks guessing."""
    height = TOP + ROW * len(scores) + 6
    parts = list(_axis(height, chance))
    for number, score in enumerate(scores):
        y = TOP + ROW * number + (ROW - BAR) / 2
        middle = y + BAR / 2
        parts += [
            _text(NAMES - 10, middle, cut(str(score["candidate"]), 23), "name", "end"),
            f'<rect class="c{number % COLOURS}" x="{NAMES}" y="{y:g}" height="{BAR}" rx="2" '
            f'width="{max(1.0, x_of(score["value"]) - NAMES):.1f}"/>',
            *_whisker(score, middle, 5),
            _text(WIDTH - VALUES + 12, middle, with_interval(score), "value", "start"),
        ]
    return _svg(height, parts, text("scores with 95 % intervals", "得分及 95 % 区间"))


def with_interval(score: Score) -> str:
    """Write a score with its interval."""
    return f"{percent(score['value'])}  ({100 * score['low']:.1f}-{100 * score['high']:.1f})"


def subjects(scores: Sequence[Score]) -> str:
    """Draw a dot per candidate and subject, with its interval."""
    names = [subject["name"] for subject in scores[0]["subjects"]]
    by_candidate = [{part["name"]: part for part in score["subjects"]} for score in scores]
    block = SUBJECT_ROW * len(scores) + 10
    height = TOP + block * len(names) + 6
    parts = list(_axis(height, None))
    for index, name in enumerate(names):
        top = TOP + block * index
        if index % 2 == 0:
            parts.append(f'<rect class="band" x="0" y="{top}" width="{WIDTH}" height="{block}"/>')
        label = str(name).replace("_", " ")
        parts.append(_text(NAMES - 10, top + block / 2, cut(label, 23), "name", "end"))
        for number, parts_of_candidate in enumerate(by_candidate):
            if (part := parts_of_candidate.get(name)) is None:
                continue
            y = top + 5 + SUBJECT_ROW * (number + 0.5)
            parts += [
                *_whisker(part, y, 0),
                f'<circle class="c{number % COLOURS}" cx="{x_of(part["value"]):.1f}" '
                f'cy="{y:g}" r="{DOT}"/>',
                _text(
                    WIDTH - VALUES + 12,
                    y,
                    f"{percent(part['value'])}  {text('of', '共')} {part['count']}",
                    "value",
                    "start",
                ),
            ]
    return _svg(height, parts, text("scores of each subject", "各科目得分"))


def _axis(height: float, chance: float | None) -> Iterator[str]:
    for tenth in range(0, 11, 2):
        x = x_of(tenth / 10)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 4}"/>'
        yield _text(x, TOP / 2, f"{tenth * 10}", "axis", "middle")
    if chance is not None:
        x = x_of(chance)
        yield f'<line class="chance" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 4}"/>'


def _whisker(score: Score, y: float, cap: float) -> Iterator[str]:
    left, right = x_of(score["low"]), x_of(score["high"])
    yield f'<line class="whisker" x1="{left:.1f}" x2="{right:.1f}" y1="{y:g}" y2="{y:g}"/>'
    for x in (left, right) if cap else ():
        yield f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{y - cap:g}" y2="{y + cap:g}"/>'


def _text(x: float, y: float, content: str, kind: str, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:g}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{escape(content)}</text>'
    )


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def legend(names: Sequence[str]) -> str:
    """Return the names of the candidates with their colours."""
    items = (
        f'<span class="key"><i class="c{number % COLOURS}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{"".join(items)}</p>'
