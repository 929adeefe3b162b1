"""Tool calls in what a model writes: JSON between <tool_call> marks, as Hermes and Qwen do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

OPENS, CLOSES = "<tool_call>", "</tool_call>"


class Calls:
    """Takes the text of one answer as it comes; gives back what is said and what is called.

    A call is handed out whole, once it is closed. What only looks like one stays text.
    """

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self._held = ""

    def feed(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the text that is certain, and the calls that have just been closed."""
        self._held += text
        said, calls = "", []
        while True:
            start = self._held.find(OPENS)
            if start < 0:
                keep = _overlap(self._held)
                said += self._held[: len(self._held) - keep]
                self._held = self._held[len(self._held) - keep :]
                break
            end = self._held.find(CLOSES, start)
            if end < 0:
                said += self._held[:start]
                self._held = self._held[start:]
                break
            call = self._call(self._held[start + len(OPENS) : end])
            whole = self._held[start : end + len(CLOSES)]
            said += self._held[:start] + ("" if call else whole)
            calls += [call] if call else []
            self._held = self._held[end + len(CLOSES) :]
        return self._trimmed(said), calls

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """Return what is left, as text; of models that leave the last mark away, as a call."""
        held, self._held = self._held, ""
        call = self._call(held.removeprefix(OPENS)) if held.startswith(OPENS) else None
        return ("", [call]) if call else (self._trimmed(held), [])

    def _trimmed(self, said: str) -> str:
        """Leave away the line breaks between and after calls: they are no words."""
        return "" if self.found and not said.strip() else said

    def _call(self, written: str) -> dict[str, Any] | None:
        try:
            said = json.loads(written)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, Mapping) or not isinstance(said.get("name"), str):
            return None
        arguments = said.get("arguments", said.get("parameters", {}))
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": said["name"], "arguments": arguments},
        }
        self.found.append(call)
        return call


def _overlap(text: str) -> int:
    """Return how much of the end of a text may become the opening mark."""
    for count in range(min(len(OPENS) - 1, len(text)), 0, -1):
        if OPENS.startswith(text[-count:]):
            return count
    return 0
