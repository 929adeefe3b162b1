"""What is said of the steps of a pipeline: headings as they begin, and the end of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.language import text

Event = Mapping[str, Any]


def lines_of(event: Event) -> list[str] | None:
    """Return the lines of an event of a pipeline or of the starter; None of any other."""
    kind = event.get("event")
    if kind == "part":
        return heading(event)
    if kind == "made":
        texts, chats = event["texts"], event["conversations"]
        said = f"  {texts} texts, {chats} conversations"
        return [text(said, f"  {texts} 篇文本，{chats} 段对话")]
    if "parts" not in event:
        return None
    took = duration(event["seconds"])
    if kind == "stopped":
        return [
            text(
                f"stopped after {took}; `swiftbox runs resume` goes on",
                f"{took} 后停止；`swiftbox runs resume` 可继续",
            )
        ]
    return [text(f"done in {took}", f"完成，用时 {took}"), *made(event["parts"])]


def heading(event: Event) -> list[str]:
    """Return the lines with which a step begins, is kept or serves."""
    number, total, name = event["number"], event["total"], event["name"]
    place = text(f"step {number}/{total} {name}", f"步骤 {number}/{total} {name}")
    says = event["says"]
    if says == "kept":
        return [text(f"== {place}: unchanged, kept", f"== {place}：未变，保留")]
    if says == "serves":
        users = ", ".join(event["used_by"])
        return [text(f"== {place}: serving for {users}", f"== {place}：为 {users} 提供服务")]
    if says == "goes on":
        return [text(f"== {place}: goes on", f"== {place}：继续")]
    lines = [f"== {place}"]
    if aside := event.get("aside"):
        kept = text(
            f"  changed: done anew; what it made before is in {aside}",
            f"  有改动，重新执行；之前的结果在 {aside}",
        )
        lines.append(kept)
    return lines


def made(parts: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a line for each thing that a finished pipeline made."""
    return [
        f"  {part['name']}.{output}: {value}"
        for part in parts
        for output, value in part.items()
        if output != "name"
    ]


def progress(parts: Sequence[Mapping[str, Any]]) -> str:
    """Say how far a pipeline is: `2/6 train`."""
    finished = [one for one in parts if one["status"] == "done"]
    current = next((one for one in parts if one["status"] not in ("done", "waiting")), None)
    at = len(finished) + (current is not None)
    name = current["name"] if current else (finished[-1]["name"] if finished else "")
    return f"{at}/{len(parts)} {name}".strip()


def duration(seconds: float) -> str:
    """Write seconds as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
