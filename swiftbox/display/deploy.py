"""What people see of a deployment: where it serves, and what it was held against before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.language import text

Event = Mapping[str, Any]


def lines_of(event: Event) -> list[str]:
    """Return the lines of an event of a deployment or of a chat."""
    kind = event.get("event")
    if kind == "serving":
        return serving_lines(event)
    if kind == "parity":
        return parity_lines(event)
    if kind == "answer":
        return answer_lines(event)
    return [text(f"answers: {event['answers']}", f"回答：{event['answers']}")]


def serving_lines(event: Event) -> list[str]:
    """Return the line that says where the models are."""
    models = ", ".join(event["models"])
    return [
        text(
            f"serving {models} at {event['url']}/v1  ({event['engine']})",
            f"正在提供服务：{models}，地址 {event['url']}/v1（{event['engine']}）",
        )
    ]


def parity_lines(event: Event) -> list[str]:
    """Return a line for each model that was held against its training, and its differences."""
    found = []
    for one in event["models"]:
        found += [f"! {line}" for line in one["differences"]] or [f"  {_same(one)}"]
    return found


def _same(one: Mapping[str, Any]) -> str:
    whose = (
        text("as in its training", "与训练时一致")
        if one["trained"]
        else text("as the trainer writes them", "与训练方式一致")
    )
    line = text(
        f"{one['model']}: tokens of {one['prompts']} prompts {whose}",
        f"{one['model']}：{one['prompts']} 个提示的 token {whose}",
    )
    if one["answers"]:
        by = {
            "training": text("its training", "训练时"),
            "memory": text("plain generate", "直接生成"),
        }[one["answered_by"]]
        line += text(
            f"; {one['answers']} greedy answers as by {by}",
            f"；{one['answers']} 个贪心回答与{by}一致",
        )
    else:
        line += text("; no answers to compare with", "；无可核对的回答")
    if one["ties"]:
        line += text(
            f" ({one['ties']} part at a tie within rounding)",
            f"（{one['ties']} 个在舍入平局处分开）",
        )
    if one["skipped"]:
        line += text(
            f"; {one['skipped']} longer than the server reads", f"；{one['skipped']} 个超出最大长度"
        )
    return line


def answer_lines(event: Event) -> list[str]:
    """Return a prompt and what each side answers."""
    answers = [f"{one['name']}: {one['text'].strip()}" for one in event["answers"]]
    return [f"> {event['prompt']}", *(line for one in answers for line in one.splitlines())]
