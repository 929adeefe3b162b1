"""Texts of rows that hold what a template writes: control tokens, tools, reasoning left open.

A tokenizer makes the same token of `<|im_end|>` in a text as of the one that closes a turn: rows
that were exported with their template teach the model to end twice, and a text about tokens
teaches it to end in its middle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from swiftbox.templates.abilities import Abilities
from swiftbox.templates.account import (
    DOUBLE_REASONING,
    DOUBLE_TOOLS,
    MARK,
    OPEN_REASONING,
    Account,
)
from swiftbox.templates.adaptation import reasoning_of
from swiftbox.templates.adapted_turn import SYSTEM, AdaptedTurn
from swiftbox.templates.reasoning import CLOSE, OPEN
from swiftbox.templates.template import ConversationTemplate

CONTROL = re.compile(
    r"<\|\w+\|?>|<\w+\|>|<｜[^｜<>\s]{1,40}｜>|<(?:start|end)_of_\w+>|</?s>|\[/?INST\]"
)
"""Control tokens of published templates; not `<think>` and `<tool_call>`, which rows have too."""

TOKEN = re.compile(r"[<\[][!-~｜▁]{1,40}[>\]]")
"""The usual form of special tokens."""


def count_marks(
    template: ConversationTemplate, turns: Sequence[AdaptedTurn], account: Account
) -> None:
    """Count the turns whose texts hold control tokens of their template, by token."""
    marks = _marks_of(template.source, tuple(template.special_tokens.values()))
    if marks is None:
        return
    for turn in turns:
        for mark in sorted({*marks.findall(turn.content), *marks.findall(turn.reasoning)}):
            account.count(MARK + mark)


def count_reasoning(turn: AdaptedTurn, abilities: Abilities, account: Account) -> None:
    """Count an answer that opens its reasoning and does not close it, or that opens it twice."""
    content = reasoning_of(turn, abilities)[1]
    if not content.lstrip().startswith(OPEN):
        return
    if CLOSE not in content:
        account.count(OPEN_REASONING)
    elif turn.reasoning:
        account.count(DOUBLE_REASONING)


def count_tools(
    turns: Sequence[AdaptedTurn], tools: Sequence[Any], abilities: Abilities, account: Account
) -> None:
    """Count a row whose system text holds all tools, which the template writes too."""
    if not (tools and abilities.tools):
        return
    systems = [turn.content for turn in turns if turn.role in SYSTEM]
    names = [json.dumps(tool["function"]["name"], ensure_ascii=False) for tool in tools]
    if systems and all(name in "".join(systems) for name in names):
        account.count(DOUBLE_TOOLS)


@lru_cache(maxsize=16)
def _marks_of(source: str, tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    marks = {*CONTROL.findall(source), *(token for token in tokens if TOKEN.fullmatch(token))}
    if not marks:
        return None
    return re.compile("|".join(re.escape(mark) for mark in sorted(marks)))
