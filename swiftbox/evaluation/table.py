"""The scores as a table in a terminal: base, tuned and quantized side by side, 80 columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.language import text

WIDTH = 80
NAME_WIDTH, SCORE_WIDTH, RANGE_WIDTH, APART_WIDTH = 20, 7, 12, 23

Report = Mapping[str, Any]


def lines(report: Report) -> list[str]:
    """Return the lines of the table, and what must be known to read it."""
    return [*_rows(report), *(f"! {one}" for part in report["remarks"] for one in wrapped(part))]


def _rows(report: Report) -> Iterator[str]:
    base = report["candidates"][0]["name"]
    apart = {(one["benchmark"], one["candidate"]): one for one in report["differences"]}
    for benchmark in report["benchmarks"]:
        scores = [one for one in report["scores"] if one["benchmark"] == benchmark["name"]]
        yield cut(
            text(
                f"{benchmark['title']}  ({scores[0]['count']} questions, {benchmark['metric']})",
                f"{benchmark['title']}（{scores[0]['count']} 题，{benchmark['metric']}）",
            ),
            WIDTH,
        )
        against = text(f"against {base}", f"与 {base} 相比") if apart else ""
        yield row("", text("score", "得分"), text("95 %", "95 %"), against, "")
        for one in scores:
            found = apart.get((benchmark["name"], one["candidate"]))
            yield row(
                one["candidate"],
                percent(one["value"]),
                f"{100 * one['low']:.1f}-{100 * one['high']:.1f}",
                points(found) if found else "",
                verdict(found) if found else "",
            )
    if apart:
        yield text(
            "  against: points, their 95 % interval; ~ no difference can be told",
            "  与基准相比：百分点及其 95 % 区间；~ 看不出差异",
        )


def row(name: str, score: str, interval: str, apart: str, word: str) -> str:
    """Return one line of the table."""
    parts = (
        "  " + padded(cut(name, NAME_WIDTH), NAME_WIDTH),
        padded(score, SCORE_WIDTH, right=True),
        padded(interval, RANGE_WIDTH, right=True),
        padded(cut(apart, APART_WIDTH), APART_WIDTH),
        word,
    )
    return "  ".join(parts[:3]).rstrip() + ("   " + "  ".join(parts[3:])).rstrip()


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.1f} %"


def points(one: Mapping[str, Any]) -> str:
    """Write a difference in percentage points, with its interval."""
    to = text("to", "至")
    return f"{100 * one['value']:+.1f} ({100 * one['low']:+.1f} {to} {100 * one['high']:+.1f})"


def verdict(one: Mapping[str, Any]) -> str:
    """Say what can be told of a difference."""
    if not one["told"]:
        return "~"
    return text("better", "更好") if one["value"] > 0 else text("worse", "更差")


def across(value: str) -> int:
    """Return the columns that a text takes in a terminal."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in value)


def padded(value: str, width: int, *, right: bool = False) -> str:
    """Fill a text up to a width."""
    room = " " * max(0, width - across(value))
    return room + value if right else value + room


def cut(value: str, width: int) -> str:
    """Shorten a text that is wider than its column."""
    if across(value) <= width:
        return value
    while across(value) > width - 1:
        value = value[:-1]
    return f"{value}…"


def wrapped(value: str, width: int = WIDTH - 2) -> list[str]:
    """Break a text into lines: at spaces, and anywhere between letters that take two columns."""
    found, line = [], ""
    for word in _words(value):
        if line and across(line + word.rstrip()) > width:
            found.append(line.rstrip())
            line = ""
        line += word
    return [*found, line.rstrip()]


def _words(value: str) -> Iterator[str]:
    word = ""
    for letter in value:
        if word and (word[-1] == " " or across(letter) == 2 or across(word[-1]) == 2):
            yield word
            word = ""
        word += letter
    yield word
