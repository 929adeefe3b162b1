"""The content of a turn: a text, or parts of text; a tool's result may be any JSON value."""

from __future__ import annotations

import json
from typing import Any

from swiftbox.data.example import RowError, kind_of

TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of a part that is text (OpenAI: Chat Completions and Responses)."""

THOUGHT_PARTS = ("thinking", "reasoning")
"""Types of a part that holds the thoughts before an answer."""

CALL_PART = "tool_call"
"""The type of a part that holds a tool call (LLaMA-Factory's newer format)."""

MEDIA_PARTS = ("image", "image_url", "input_image", "video", "video_url", "audio", "input_audio")


def content_of(value: Any, key: str, number: int) -> tuple[str, str]:
    """Return the text and the thoughts of a content of text or of parts; parts are joined.

    The parts follow each other without a separator, as in our server. A part needs no list.
    """
    if isinstance(value, str):
        return value, ""
    value = [value] if _is_part(value) else value
    if not isinstance(value, list) or not value:
        raise _not_text(value, key, number)
    texts: list[str] = []
    thoughts: list[str] = []
    for part in value:
        kind, piece = _part(part)
        if not isinstance(piece, str):
            raise _unknown_part(part, kind, key, number)
        (thoughts if kind in THOUGHT_PARTS else texts).append(piece)
    return "".join(texts), "".join(thoughts)


def without_calls(value: Any) -> tuple[Any, list[Any]]:
    """Return a content without its parts that are tool calls, and those; None if nothing stays."""
    if not isinstance(value, list):
        return value, []
    calls = [part for part in value if isinstance(part, dict) and part.get("type") == CALL_PART]
    if not calls:
        return value, []
    rest = [part for part in value if part not in calls]
    return rest or None, [part.get("value", part.get(CALL_PART)) for part in calls]


def result_of(value: Any) -> str:
    """Return the result of a tool as text: an object or a number as JSON, nothing as no text."""
    if value is None or isinstance(value, str):
        return value or ""
    if _is_part(value) and len(value) == 2 and isinstance(_part(value)[1], str):
        return str(_part(value)[1])
    if isinstance(value, list) and value:
        pieces = [_part(part)[1] for part in value]
        if all(isinstance(piece, str) for piece in pieces):
            return "".join(pieces)
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_part(value: Any) -> bool:
    """Return whether a content is a part that stands for itself: an object with a known type."""
    types = (*TEXT_PARTS, *THOUGHT_PARTS, *MEDIA_PARTS)
    return isinstance(value, dict) and value.get("type") in types


def _part(part: Any) -> tuple[str, Any]:
    """Return the type and the text of a part; None where it is not text."""
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, dict):
        return "", None
    kind = part.get("type") or "text"
    if kind in TEXT_PARTS:
        return kind, part.get("text", part.get("value"))
    if kind in THOUGHT_PARTS:
        return kind, next(
            (part[key] for key in (kind, "text", "value") if part.get(key) is not None), None
        )
    return str(kind), None


def _not_text(value: Any, key: str, number: int) -> RowError:
    return RowError(
        "type",
        f"message {number}: {key} should be text (got {kind_of(value)})",
        f"第 {number} 条消息：{key} 应为文字（当前为 {kind_of(value)}）",
    )


def _unknown_part(part: Any, kind: str, key: str, number: int) -> RowError:
    if kind in MEDIA_PARTS:
        return RowError(
            "media",
            f"message {number} has a part of type {kind}, which this stage does not support",
            f"第 {number} 条消息含有类型为 {kind} 的部分，此阶段不支持",
        )
    got = kind[:40] if kind not in ("", "text") else kind_of(part)
    return RowError(
        "type",
        f"message {number}: {key} should be text or parts of text (got a part: {got})",
        f"第 {number} 条消息：{key} 应为文字或文字部分（当前有一部分为 {got}）",
    )
