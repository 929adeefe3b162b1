"""Reasoning of an answer: in a field of its message, or inline between `<think>` and `</think>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

INLINE = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class ThinkMarks:
    """What a template writes before and after the reasoning of an answer."""

    before: str
    after: str


INLINE_MARKS = ThinkMarks("<think>\n", "\n</think>\n\n")
"""The form of models that write their reasoning inline (DeepSeek-R1)."""


def split_inline(content: str) -> tuple[str, str]:
    """Return the reasoning at the start of an answer, and the answer after it.

    The opening mark may be missing, because the prompt of reasoning models ends with it.
    """
    if CLOSE not in content:
        return "", content
    match = INLINE.match(content)
    if match is not None:
        return match[1].strip(), content[match.end() :]
    before, _, answer = content.partition(CLOSE)
    return ("", content) if OPEN in before else (before.strip(), answer.lstrip())


def inline(reasoning: str, content: str) -> str:
    """Return an answer with its reasoning before it."""
    return INLINE_MARKS.before + reasoning.strip() + INLINE_MARKS.after + content.lstrip()
