"""Progress display of an evaluation: a line for each score, then the table."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, done_line
from swiftbox.display.deploy import parity_lines
from swiftbox.evaluation.table import lines as table_lines
from swiftbox.evaluation.table import percent
from swiftbox.formatting import counted, duration
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def candidates_lines(event: Event) -> list[str]:
    """Return which models are compared on which benchmarks."""
    models = ", ".join(event["candidates"])
    rows = event.get("rows")
    benchmarks = ", ".join([*([rows] if rows else []), *event["benchmarks"]])
    return [
        text(f"  {models}: evaluated on {benchmarks}", f"  {models}：评测 {benchmarks}"),
    ]


def measured_line(event: Event) -> str:
    """Return how many batches of the rows have their loss."""
    done, total = event["done"], event["of"]
    return text(f"  loss: batch {done} of {total}", f"  损失：第 {done} / {total} 批")


def server_lines(event: Event) -> list[str]:
    """Return the address of the server under evaluation."""
    server = f"{event['url']}/v1 ({event['engine']})"
    return [text(f"  server at {server}", f"  服务地址 {server}")]


def benchmark_lines(event: Event) -> list[str]:
    """Return the line shown when a benchmark starts."""
    total = event.get("total")
    questions = text(f", {counted(total, 'question')}", f"，{total} 题") if total else ""
    return [f"> {event['candidate']}: {event['benchmark']}{questions}"]


def score_lines(event: Event) -> list[str]:
    """Return a score with its interval."""
    interval = f"{100 * event['low']:.1f}-{100 * event['high']:.1f}"
    score, count = percent(event["value"]), event["count"]
    questions = counted(count, "question")
    line = text(
        f"  {event['candidate']}: {event['benchmark']} {score} ({interval}), {questions}",
        f"  {event['candidate']}：{event['benchmark']} {score}（{interval}），{count} 题",
    )
    if event["seconds"] is None:
        return [line]
    took = duration(event["seconds"])
    return [line + text(f" in {took}", f"，{took}")]


def answered_line(event: Event) -> str:
    """Return the number of answered questions, their rate and the time left."""
    total = f"/{event['total']}" if event.get("total") else ""
    line = text(
        f"  {event['candidate']}: {event['benchmark']} {event['count']}{total} answered",
        f"  {event['candidate']}：{event['benchmark']} 已回答 {event['count']}{total}",
    )
    rate, eta = event.get("per_s"), event.get("eta_s")
    if rate is not None:
        line += text(f", {rate:.3g}/s", f"，每秒 {rate:.3g} 题")
    if eta is not None:
        line += text(f", {duration(eta)} left", f"，剩余 {duration(eta)}")
    return line


def done_lines(event: Event) -> list[str]:
    """Return the time and the path of the report."""
    return [done_line(event), text(f"report: {event['report']}", f"报告：{event['report']}")]


def stopped_lines(event: Event) -> list[str]:
    """Return the number of scores at the time an evaluation stopped."""
    total = event.get("of")
    if total is None:  # it was ended before it could count them
        resumes = "`swiftbox runs resume`"
        return [text(f"stopped; {resumes} continues", f"已停止；{resumes} 可继续")]
    count = event.get("scored") or 0
    return [
        text(
            f"stopped with {count} of {total} scores; `swiftbox runs resume` continues",
            f"已停止：{total} 项得分已完成 {count} 项；`swiftbox runs resume` 可继续",
        )
    ]


DISPLAY = TaskDisplay(
    {
        events.EVALUATING: candidates_lines,
        events.SERVED: server_lines,
        events.PARITY: parity_lines,
        events.ASKING: benchmark_lines,
        events.SCORED: score_lines,
        events.REPORT: table_lines,
        events.DONE: done_lines,
        events.STOPPED: stopped_lines,
    },
    {events.ANSWERS: answered_line, events.MEASURING: measured_line},
)
