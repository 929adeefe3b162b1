"""The scores as a table in a terminal: base, tuned and quantized side by side, 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.evaluation.own_rows.terminal_table import rows_lines
from swiftbox.formatting import counted, cut, pad, wrap
from swiftbox.language import text

WIDTH = 80
NAME_WIDTH, SCORE_WIDTH, RANGE_WIDTH, DIFFERENCE_WIDTH = 20, 7, 12, 23

Report = Mapping[str, Any]


def lines(report: Report) -> list[str]:
    """Return the lines of the table, followed by the remarks on how to read it."""
    remarks = (line for remark in report["remarks"] for line in wrap(remark, WIDTH - 2))
    return [
        *rows_lines(report.get("own_rows"), WIDTH),
        *_rows(report),
        *(f"! {line}" for line in remarks),
    ]


def _rows(report: Report) -> Iterator[str]:
    baseline = report["candidates"][0]["name"]
    differences = {(row["benchmark"], row["candidate"]): row for row in report["differences"]}
    for benchmark in report["benchmarks"]:
        scores = [row for row in report["scores"] if row["benchmark"] == benchmark["name"]]
        questions = counted(scores[0]["count"], "question")
        yield cut(
            text(
                f"{benchmark['title']}  ({questions}, {benchmark['metric']})",
                f"{benchmark['title']}（{scores[0]['count']} 题，{benchmark['metric']}）",
            ),
            WIDTH,
        )
        against = text(f"against {baseline}", f"与 {baseline} 相比") if differences else ""
        yield row("", text("score", "得分"), text("95 %", "95 %"), against, "")
        for score in scores:
            difference = differences.get((benchmark["name"], score["candidate"]))
            yield row(
                score["candidate"],
                percent(score["value"]),
                f"{100 * score['low']:.1f}-{100 * score['high']:.1f}",
                points(difference) if difference else "",
                verdict(difference) if difference else "",
            )
    if differences:
        yield text(
            "  against: percentage points, their 95 % interval; ~ no significant difference",
            "  与基准相比：百分点及其 95 % 区间；~ 看不出差异",
        )


def row(name: str, score: str, interval: str, difference: str, word: str) -> str:
    """Return one line of the table."""
    parts = (
        "  " + pad(cut(name, NAME_WIDTH), NAME_WIDTH),
        pad(score, SCORE_WIDTH, right=True),
        pad(interval, RANGE_WIDTH, right=True),
        pad(cut(difference, DIFFERENCE_WIDTH), DIFFERENCE_WIDTH),
        word,
    )
    return "  ".join(parts[:3]).rstrip() + ("   " + "  ".join(parts[3:])).rstrip()


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.1f} %"


def points(difference: Mapping[str, Any]) -> str:
    """Write a difference in percentage points, with its interval."""
    to = text("to", "至")
    low, high = 100 * difference["low"], 100 * difference["high"]
    return f"{100 * difference['value']:+.1f} ({low:+.1f} {to} {high:+.1f})"


def verdict(difference: Mapping[str, Any]) -> str:
    """Say whether a difference is significant, and in which direction."""
    if not difference["told"]:
        return "~"
    return text("better", "更好") if difference["value"] > 0 else text("worse", "更差")
