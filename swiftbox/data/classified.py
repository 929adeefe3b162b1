"""Rows that are classified: a text, a pair of texts or a conversation, with its label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swiftbox.data.cells import Row, first, list_in, text_in
from swiftbox.data.column_names import CONTEXTS, CONVERSATION_COLUMNS, QUESTIONS
from swiftbox.data.conversations import read_query
from swiftbox.data.example import Example, RowError
from swiftbox.data.tool_calls import read_tools
from swiftbox.data.turn_order import complete_turns, prompt_turns
from swiftbox.data.turns import read_turns

TARGETS = ("label", "labels")
"""Columns with what is predicted."""

QUESTION = (*QUESTIONS, "instruction")
TEXTS = ("text", "sentence", *QUESTION)
"""Columns of a text that is classified alone."""

FIRST = ("sentence1", "premise", "text1", "text_a", "sentence_a", "question1", "text", *QUESTION)
SECOND = (
    "sentence2",
    "hypothesis",
    "text2",
    "text_b",
    "sentence_b",
    "question2",
    "text_pair",
    "context",
    "passage",
    "sentence",
)
"""Columns of two texts that are classified together."""

MOST_LABELS = 10_000
"""Labels of a row: a longer list is a mistake."""


def read_text_class(row: Row) -> Example:
    """Read `{"text", "label"}` and the other names of a text."""
    return Example(text=_text(row, first(row, TEXTS)), target=_target(row))


def read_pair_class(row: Row) -> Example:
    """Read `{"sentence1", "sentence2", "label"}` and the other names of two texts."""
    key = first(row, SECOND)
    text = _text(row, first(row, FIRST), without=key)
    return Example(text=text, second=text_in(row, key), target=_target(row))


def read_answer_class(row: Row) -> Example:
    """Read `{"query", "response", "label"}`: an answer that is classified with its question."""
    return replace(read_query(row), target=_target(row))


def read_conversation_class(row: Row) -> Example:
    """Read `{"messages", "label"}`; the conversation may end with either side."""
    key = first(row, CONVERSATION_COLUMNS)
    turns = read_turns(list_in(row, key))
    is_answered = bool(turns) and turns[-1].role == "assistant"
    complete = complete_turns(turns, row) if is_answered else prompt_turns(turns, row)
    tools = read_tools(row) if "tools" in row else ()
    return Example(complete, tools, target=_target(row))


def no_tokens() -> RowError:
    """Return the error of a text of which the tokenizer keeps nothing."""
    return RowError(
        "empty", "has no tokens: the tokenizer drops its text", "没有 token：分词器丢弃了全部文字"
    )


def _text(row: Row, key: str, *, without: str = "") -> str:
    """Return a text; to a question belong the contexts of its row."""
    parts = [text_in(row, key)]
    contexts = CONTEXTS if key in QUESTION else ()
    parts += [text_in(row, name) for name in contexts if name != without and row.get(name)]
    return "\n".join(parts)


def _target(row: Row) -> Any:
    """Return the value to predict; its meaning depends on the config (data/classes.py)."""
    key = first(row, TARGETS)
    value = row[key]
    if value is None or value == "":
        raise RowError("label", f"{key} is empty", f"{key} 为空")
    if isinstance(value, list):
        if len(value) > MOST_LABELS:
            raise RowError("label", f"{key} has {len(value)} entries", f"{key} 有 {len(value)} 项")
        return tuple(value)
    return value
