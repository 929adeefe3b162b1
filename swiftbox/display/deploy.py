"""Progress display of a deployment: its address, and how its outputs compare with the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.display.common import TaskDisplay
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def serving_lines(event: Event) -> list[str]:
    """Return the address, the names of the served models, and the page for browsers."""
    models = ", ".join(event["models"])
    lines = [
        text(
            f"serving {models} at {event['url']}/v1  ({event['engine']})",
            f"正在提供服务：{models}，地址 {event['url']}/v1（{event['engine']}）",
        )
    ]
    if page := event.get("page"):
        lines.append(text(f"chat in a browser: {page}", f"在浏览器中对话：{page}"))
    return lines


def parity_lines(event: Event) -> list[str]:
    """Return how each served model differs from its training."""
    lines: list[str] = []
    for model in event["models"]:
        differences = [f"! {line}" for line in model["differences"]]
        lines += differences or ["  " + text("; ", "；").join(_agreement(model))]
    return lines


def _agreement(model: Mapping[str, Any]) -> Iterator[str]:
    """Yield the comparisons without a difference."""
    name, prompts = model["model"], model["prompts"]
    yield text(
        f"{name}: tokens of {prompts} prompts match {_token_source(model)}",
        f"{name}：{prompts} 个提示的 token 与{_token_source(model)}一致",
    )
    if model["answers"]:
        yield _answers(model)
    else:
        yield text("no answers to compare with", "无可核对的回答")
    if model["skipped"]:
        yield text(
            f"{model['skipped']} prompts exceed the server's context",
            f"{model['skipped']} 个提示超出服务的最大长度",
        )


def _token_source(model: Mapping[str, Any]) -> str:
    if model["trained"]:
        return text("those of its training", "训练时")
    return text("those of the trainer", "训练方式")


def _answers(model: Mapping[str, Any]) -> str:
    sources = {
        "training": text("those of its training", "训练时"),
        "memory": text("plain generation", "直接生成"),
    }
    count, source = model["answers"], sources[model["answered_by"]]
    line = text(f"{count} greedy answers match {source}", f"{count} 个贪心回答与{source}一致")
    if model["ties"]:
        line += text(
            f" ({model['ties']} diverge at a tie within rounding)",
            f"（{model['ties']} 个在舍入平局处分开）",
        )
    return line


def stopped_lines(event: Event) -> list[str]:
    """Return how long a server ran; the time is missing if it was killed."""
    seconds = event.get("seconds")
    if seconds is None:
        return [text("server stopped", "服务已停止")]
    took = duration(seconds)
    return [text(f"server stopped after {took}", f"服务运行 {took}后停止")]


DISPLAY = TaskDisplay(
    {
        events.SERVING: serving_lines,
        events.PARITY: parity_lines,
        events.STOPPED: stopped_lines,
    }
)
