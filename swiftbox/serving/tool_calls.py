"""Parse tool calls in generated text: JSON between <tool_call> marks, as Hermes and Qwen do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

OPENS, CLOSES = "<tool_call>", "</tool_call>"


class ToolCallParser:
    """Splits the text of one answer, as it arrives, into content and tool calls.

    A call is returned once its closing mark has arrived. Invalid calls stay text.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._pending = ""

    def feed(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the text that is certain, and the calls that have just ended."""
        self._pending += text
        content, calls = "", []
        while True:
            start = self._pending.find(OPENS)
            if start < 0:
                keep = _overlap(self._pending)
                content += self._pending[: len(self._pending) - keep]
                self._pending = self._pending[len(self._pending) - keep :]
                break
            end = self._pending.find(CLOSES, start)
            if end < 0:
                content += self._pending[:start]
                self._pending = self._pending[start:]
                break
            call = self._call(self._pending[start + len(OPENS) : end])
            literal = self._pending[start : end + len(CLOSES)]
            content += self._pending[:start] + ("" if call else literal)
            calls += [call] if call else []
            self._pending = self._pending[end + len(CLOSES) :]
        return self._trimmed(content), calls

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the rest as text, or as a call if the model omitted the closing mark."""
        rest, self._pending = self._pending, ""
        call = self._call(rest.removeprefix(OPENS)) if rest.startswith(OPENS) else None
        return ("", [call]) if call else (self._trimmed(rest), [])

    def _trimmed(self, content: str) -> str:
        """Drop the line breaks between and after calls: they are not content."""
        return "" if self.calls and not content.strip() else content

    def _call(self, source: str) -> dict[str, Any] | None:
        try:
            parsed = json.loads(source)
        except (ValueError, RecursionError):
            return None
        if not isinstance(parsed, Mapping) or not isinstance(parsed.get("name"), str):
            return None
        arguments = parsed.get("arguments", parsed.get("parameters", {}))
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": parsed["name"], "arguments": arguments},
        }
        self.calls.append(call)
        return call


def _overlap(text: str) -> int:
    """Return how many letters at the end of a text may begin an opening mark."""
    for count in range(min(len(OPENS) - 1, len(text)), 0, -1):
        if OPENS.startswith(text[-count:]):
            return count
    return 0
