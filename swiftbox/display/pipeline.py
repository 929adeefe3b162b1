"""Progress display of a pipeline: a heading for each step, then the outputs of all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.display.common import TaskDisplay, done_line
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event, StepAction


def step_lines(event: Event) -> list[str]:
    """Return the lines shown when a step begins, resumes, serves or is skipped as unchanged."""
    number, total, name = event["number"], event["total"], event["name"]
    heading = "== " + text(f"step {number}/{total} {name}", f"步骤 {number}/{total} {name}")
    match event["says"]:
        case StepAction.KEEP:
            return [heading + text(": unchanged, kept", "：未变，保留")]
        case StepAction.SERVE:
            users = ", ".join(event.get("used_by") or ())
            if not users:
                return [heading + text(": serving", "：提供服务")]
            return [heading + text(f": serving for {users}", f"：为 {users} 提供服务")]
        case StepAction.SKIP:
            why = event["why"]
            return [heading + text(f": skipped: {why}", f"：跳过：{why}")]
        case StepAction.RESUME:
            return [heading + text(": resumes", "：继续"), *_instead_lines(event)]
    return [heading, *_instead_lines(event), *_aside_lines(event)]


def _instead_lines(event: Event) -> list[str]:
    """Return what a step uses in place of the results of skipped ones."""
    return [f"! {line}" for line in event.get("instead") or ()]


def _aside_lines(event: Event) -> list[str]:
    """Return where the previous result of a changed step is."""
    if not (aside := event.get("aside")):
        return []
    return [
        text(
            f"  changed, rerunning; previous result kept in {aside}",
            f"  有改动，重新执行；之前的结果保留在 {aside}",
        ),
    ]


def done_lines(event: Event) -> list[str]:
    """Return the time, a line for each output of each step, and the steps that were skipped."""
    outputs = [
        f"  {step['name']}.{output}: {value}"
        for step in event["parts"]
        for output, value in step.items()
        if output != "name"
    ]
    return [done_line(event), *outputs, *_skipped_lines(event.get("skipped") or {})]


def _skipped_lines(skipped: Mapping[str, str]) -> list[str]:
    """Return a line for each skipped step, and how to run them."""
    if not skipped:
        return []
    lines = [
        "! " + text(f"{name} skipped: {why}", f"跳过 {name}：{why}")
        for name, why in skipped.items()
    ]
    name = next(iter(skipped))
    again = f"`swiftbox runs resume RUN {name}.skip=false`"
    return [*lines, text(f"  {again} runs {name} again", f"  {again} 可重新执行 {name}")]


def stopped_lines(event: Event) -> list[str]:
    """Return when a pipeline stopped; the time is missing if it was killed."""
    resumes = "`swiftbox runs resume`"
    seconds = event.get("seconds")
    if seconds is None:
        return [text(f"stopped; {resumes} continues", f"已停止；{resumes} 可继续")]
    took = duration(seconds)
    return [text(f"stopped after {took}; {resumes} continues", f"{took}后停止；{resumes} 可继续")]


def step_progress(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the progress of a pipeline: `2/6 train`; skipped steps count as finished."""
    ended = ("done", "skipped")
    finished = [step for step in steps if step["status"] in ended]
    current = next((step for step in steps if step["status"] not in (*ended, "waiting")), None)
    number = len(finished) + (current is not None)
    last = finished[-1]["name"] if finished else ""
    return f"{number}/{len(steps)} {current['name'] if current else last}".strip()


DISPLAY = TaskDisplay(
    {
        events.PART: step_lines,
        events.DONE: done_lines,
        events.STOPPED: stopped_lines,
    }
)
