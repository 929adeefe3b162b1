"""The scores on own rows as lines of a terminal: metric by metric, models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.evaluation.own_rows.metric_names import (
    difference_text,
    interval_text,
    judged_counts,
    judged_word,
    metric_name,
    value_text,
    verdict_word,
)
from swiftbox.formatting import counted, cut, pad, wrap
from swiftbox.language import text

NAME_WIDTH, VALUE_WIDTH, RANGE_WIDTH, DIFFERENCE_WIDTH = 16, 7, 13, 25

Report = Mapping[str, Any]


def rows_lines(report: Report | None, columns: int) -> list[str]:
    """Return the lines for own rows; none without them."""
    if report is None:
        return []
    return [cut(line, columns) for line in _lines(report, columns)]


def _lines(report: Report, columns: int) -> Iterator[str]:
    rows = counted(report["rows"], "row")
    yield text(f"{report['title']}  ({rows})", f"{report['title']}（{report['rows']} 行）")
    for metric in report["metrics"]:
        scores = [row for row in report["scores"] if row["metric"] == metric]
        if scores:
            yield f"  {metric_name(metric)}"
            yield from _scores(report, metric, scores)
    for name, why in report["unmeasured"].items():
        yield text(f"  {name}: loss not measured: {why}", f"  {name}：未测损失：{why}")
    if report["judge"] is not None:
        yield from _judged(report["judge"], columns)


def _scores(report: Report, metric: str, scores: Sequence[Report]) -> Iterator[str]:
    differences = {
        row["candidate"]: row for row in report["differences"] if row["metric"] == metric
    }
    for row in scores:
        difference = differences.get(row["candidate"])
        parts = (
            "    " + pad(cut(row["candidate"], NAME_WIDTH), NAME_WIDTH),
            pad(value_text(metric, row["value"]), VALUE_WIDTH, right=True),
            pad(interval_text(row, metric), RANGE_WIDTH, right=True),
        )
        line = "  ".join(parts)
        if difference is not None:
            line += "  " + pad(difference_text(difference), DIFFERENCE_WIDTH)
            line += " " + verdict_word(difference)
        yield line.rstrip()


def _judged(judge: Report, columns: int) -> Iterator[str]:
    yield text(
        f"  win rate against {judge['verdicts'][0]['against']}, judged by {judge['model']}",
        f"  与 {judge['verdicts'][0]['against']} 相比的胜率，由 {judge['model']} 评审",
    )
    for row in judge["verdicts"]:
        value = interval = ""
        if row["count"]:
            value, interval = value_text("win_rate", row["value"]), interval_text(row, "win_rate")
        parts = (
            "    " + pad(cut(row["candidate"], NAME_WIDTH), NAME_WIDTH),
            pad(value, VALUE_WIDTH, right=True),
            pad(interval, RANGE_WIDTH, right=True),
            judged_word(row) if row["count"] else "",
        )
        yield "  ".join(parts).rstrip()
        yield from (f"      {line}" for line in wrap(judged_counts(row), columns - 6))
