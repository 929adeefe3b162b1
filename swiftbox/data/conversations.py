"""Rows that are one conversation: messages, ShareGPT, Alpaca, question and answer; and raw text."""

from __future__ import annotations

from swiftbox.data.cells import Row, first, list_in, text_in, turns_in
from swiftbox.data.example import Example, Message, RowError
from swiftbox.data.turns import conversation, read_turns

WHOLE = ("messages", "conversations")
QUESTIONS = ("query", "prompt", "question", "problem")
ANSWERS = ("response", "answer", "output", "completion")
ASKING = ("prompt", *WHOLE, "instruction", *QUESTIONS)
"""Columns that hold what is asked; the first that is filled counts."""


def read_messages(row: Row) -> Example:
    """Read `{"messages": [{"role", "content"}, ...]}`, as OpenAI writes conversations."""
    return conversation(read_turns(list_in(row, "messages")), row)


def read_sharegpt(row: Row) -> Example:
    """Read `{"conversations": [{"from", "value"}, ...], "system"}`."""
    return conversation(read_turns(list_in(row, "conversations")), row)


def read_alpaca(row: Row) -> Example:
    """Read `{"instruction", "input", "output", "system", "history"}`."""
    question = _instruction(row)
    return _answered(row, question, text_in(row, "output"))


def read_query(row: Row) -> Example:
    """Read `{"query", "response", "history"}` and the synonyms of both names.

    Both may be lists of turns, as TRL writes `prompt` and `completion`.
    """
    asking, answering = first(row, QUESTIONS), first(row, ANSWERS)
    asked, answer = row[asking], row[answering]
    if isinstance(asked, list) or isinstance(answer, (list, dict)):
        question = turns_in(row, asking, "user")
        turns = [*history(row), *question, *turns_in(row, answering, "assistant")]
        return conversation(turns, row)
    return _answered(row, text_in(row, asking), text_in(row, answering))


def read_text(row: Row) -> Example:
    """Read `{"text"}`: raw text for pretraining."""
    return Example(text=text_in(row, "text"))


def read_whole(row: Row) -> Example:
    """Read the one conversation of a row, whichever of the four ways it is written in."""
    if row.get("messages") is not None:
        return read_messages(row)
    if row.get("conversations") is not None:
        return read_sharegpt(row)
    if "instruction" in row and "output" in row:
        return read_alpaca(row)
    if row.keys().isdisjoint(QUESTIONS):
        missing = " | ".join((*WHOLE, *QUESTIONS))
        raise RowError("columns", f"none of {missing} is filled", f"{missing} 中没有任何一列有内容")
    return read_query(row)


def asked_in(row: Row) -> list[Message]:
    """Return the turns that a row asks with, history first; none where nothing is asked."""
    asking = next((name for name in ASKING if row.get(name) is not None), None)
    if asking is None:
        return []
    if asking in WHOLE:
        return read_turns(list_in(row, asking))
    if asking == "instruction":
        return [*history(row), Message("user", _instruction(row))]
    if row[asking] == []:
        return []
    return [*history(row), *turns_in(row, asking, "user")]


def history(row: Row) -> list[Message]:
    """Return the turns of `history`: pairs of question and answer."""
    if not row.get("history"):
        return []
    turns: list[Message] = []
    for number, pair in enumerate(list_in(row, "history"), 1):
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(one, str) and one.strip() for one in pair):
            raise RowError(
                "history",
                f"history {number} should be a pair of texts [question, answer]",
                f"history 第 {number} 项应为一对文字 [问, 答]",
            )
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return turns


def _instruction(row: Row) -> str:
    given = text_in(row, "input") if row.get("input") else ""
    asked = text_in(row, "instruction") if row["instruction"] or not given else ""
    return f"{asked}\n{given}" if asked and given else asked or given


def _answered(row: Row, question: str, answer: str) -> Example:
    turns = [*history(row), Message("user", question), Message("assistant", answer)]
    return conversation(turns, row)
