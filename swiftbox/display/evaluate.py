"""An evaluation as people watch it: a line for each event, the table at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.evaluation.table import lines, percent
from swiftbox.language import text

Event = Mapping[str, Any]

KINDS = ("evaluating", "served", "asking", "answers", "scored", "report")


def lines_of(event: Event) -> list[str]:
    """Return the lines that an event of an evaluation adds for good."""
    kind = event["event"]
    if kind == "evaluating":
        named = ", ".join(event["candidates"]), ", ".join(event["benchmarks"])
        return [text(f"  {named[0]}: asked {named[1]}", f"  {named[0]}：评测 {named[1]}")]
    if kind == "served":
        at = f"{event['url']}/v1 ({event['engine']})"
        return [text(f"  asked at {at}", f"  服务地址 {at}")]
    if kind == "asking":
        return [f"> {event['candidate']}: {event['benchmark']}{_of(event)}"]
    if kind == "scored":
        return [_scored(event)]
    return lines(event) if kind == "report" else []


def _of(event: Event) -> str:
    total = event.get("total")
    return text(f", {total} questions", f"，{total} 题") if total else ""


def _scored(event: Event) -> str:
    interval = f"{100 * event['low']:.1f}-{100 * event['high']:.1f}"
    return text(
        f"  {event['candidate']}: {event['benchmark']} {percent(event['value'])} ({interval}), "
        f"{event['count']} questions in {event['seconds']:.0f} s",
        f"  {event['candidate']}：{event['benchmark']} {percent(event['value'])}（{interval}），"
        f"{event['count']} 题，{event['seconds']:.0f} 秒",
    )


def answers_line(event: Event) -> str:
    """Return one plain line of how many questions have an answer."""
    total = f"/{event['total']}" if event.get("total") else ""
    return text(
        f"  {event['candidate']}: {event['benchmark']} {event['count']}{total} answered",
        f"  {event['candidate']}：{event['benchmark']} 已回答 {event['count']}{total}",
    )


def done(event: Event) -> list[str]:
    """Return the last lines."""
    return [text(f"report: {event['report']}", f"报告：{event['report']}")]


def stopped(event: Event) -> list[str]:
    """Return the line of an evaluation that was stopped."""
    return [
        text(
            f"stopped: {event['scored']} of {event['of']} scores are there; "
            "`swiftbox runs resume` goes on",
            f"已停止：{event['of']} 项得分已完成 {event['scored']} 项；"
            "`swiftbox runs resume` 可继续",
        )
    ]
