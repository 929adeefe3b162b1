"""Rows that hold one conversation (messages, ShareGPT, Alpaca, query-response), or raw text."""

from __future__ import annotations

from swiftbox.data.cells import Row, first, list_in, text_in, turns_in
from swiftbox.data.column_names import (
    ANSWERS,
    CONTEXTS,
    CONVERSATION_COLUMNS,
    PROMPT_COLUMNS,
    QUESTIONS,
    REASONING_COLUMNS,
)
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.data.loss_weights import weighted_turns
from swiftbox.data.transcripts import line_transcript, transcript, user_transcript
from swiftbox.data.turn_order import conversation
from swiftbox.data.turns import REASONING, read_turns

NOT_A_TRANSCRIPT = "stage"
"""The kind of a text without speakers: it may be for another stage, or have unclear columns."""

THOUGHTS = frozenset(REASONING_COLUMNS)


def read_messages(row: Row) -> Example:
    """Read `{"messages": [{"role", "content"}, ...]}`, as OpenAI writes conversations."""
    return conversation(read_turns(weighted_turns(list_in(row, "messages"), row)), row)


def read_sharegpt(row: Row) -> Example:
    """Read `{"conversations": [{"from", "value"}, ...], "system"}`."""
    return conversation(read_turns(weighted_turns(list_in(row, "conversations"), row)), row)


def read_alpaca(row: Row) -> Example:
    """Read `{"instruction", "input", "output", "system", "history"}`.

    An instruction may hold all turns before the answer, as belle writes them, or those before the
    question in `input`, as GuanacoDataset does.
    """
    question = _instruction(row)
    turns = line_transcript(question) or _after_turns(row) or [Turn("user", question)]
    answer_key = "output" if row.get("output") is not None else first(row, ANSWERS)
    return _with_answer(row, turns, text_in(row, answer_key))


def _after_turns(row: Row) -> list[Turn]:
    past, question = row.get("instruction") or "", row.get("input")
    if not isinstance(past, str) or not isinstance(question, str):
        return []
    return user_transcript(past, question)


def read_query(row: Row) -> Example:
    """Read `{"query", "response", "history"}` and the synonyms of both names.

    Both may be lists of turns, as TRL writes `prompt` and `completion`. A context column belongs
    to the question.
    """
    question_key, answer_key = first(row, QUESTIONS), first(row, ANSWERS)
    row = _with_sole_answer(row, answer_key)
    question, answer = row[question_key], row[answer_key]
    if isinstance(question, list) or isinstance(answer, (list, dict)):
        prompt = turns_in(row, question_key, "user")
        turns = [*history(row), *prompt, *turns_in(row, answer_key, "assistant")]
        return conversation(turns, row)
    context = context_in(row)
    text = text_in(row, question_key) + (f"\n{context}" if context else "")
    return _with_answer(row, [Turn("user", text)], text_in(row, answer_key))


def _with_sole_answer(row: Row, key: str) -> Row:
    """Return a row whose answer is a text where it is a list of one; refuse a choice of several."""
    answers = row[key]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return row
    if len(answers) != 1:
        count = len(answers)
        raise RowError(
            "answers",
            f"{key} should be one text (got a list of {count}: a choice of answers)",
            f"{key} 应为一段文字（当前为 {count} 段文字的列表，即多个备选回答）",
        )
    return {**row, key: answers[0]}


def read_text(row: Row) -> Example:
    """Read `{"text"}`: raw text for pretraining."""
    return Example(text=text_in(row, "text"))


def read_transcript(row: Row) -> Example:
    """Read `{"text"}` with a conversation in which each turn begins with its speaker."""
    turns = transcript(text_in(row, "text"))
    if not turns:
        raise RowError(
            NOT_A_TRANSCRIPT,
            "text rows are for stage: pt, not sft (sft reads a text only with turns, as "
            "### Human: ... ### Assistant: ...)",
            "text 格式的数据用于 stage: pt，而不是 sft（sft 只读取含轮次的文字，"
            "如 ### Human: ... ### Assistant: ...）",
        )
    return conversation(turns, row)


def read_conversation(row: Row) -> Example:
    """Read the conversation of a row in whichever of the four formats it is written."""
    if row.get("messages") is not None:
        return read_messages(row)
    if row.get("conversations") is not None:
        return read_sharegpt(row)
    has_answer = not row.keys().isdisjoint(ANSWERS)
    has_question = has_answer and not row.keys().isdisjoint(QUESTIONS)
    if row.get("instruction") is not None and has_answer and ("output" in row or not has_question):
        return read_alpaca(row)
    if not has_question:
        names = " | ".join((*CONVERSATION_COLUMNS, *QUESTIONS))
        raise RowError("empty", f"none of {names} is filled", f"{names} 中没有任何一列有内容")
    return read_query(row)


def prompt_in(row: Row) -> list[Turn]:
    """Return the turns of the prompt, history first; none where there is no prompt."""
    key = next((name for name in PROMPT_COLUMNS if row.get(name) is not None), None)
    if key is None:
        return []
    if key in CONVERSATION_COLUMNS:
        return read_turns(list_in(row, key))
    if key == "instruction":
        return [*history(row), Turn("user", _instruction(row))]
    if row[key] == []:
        return []
    turns = turns_in(row, key, "user")
    return [*history(row), *turns]


def question_in(row: Row) -> list[Turn]:
    """Return the turns of the prompt of two answers: a context column belongs to its question."""
    turns, context = prompt_in(row), context_in(row)
    is_text = any(isinstance(row.get(name), str) for name in QUESTIONS)
    if context and is_text and turns and row.get("instruction") is None:
        last = turns[-1]
        turns[-1] = Turn(last.role, f"{last.content}\n{context}")
    return turns


def history(row: Row) -> list[Turn]:
    """Return the turns of `history`: pairs of question and answer."""
    if not row.get("history"):
        return []
    turns: list[Turn] = []
    for number, pair in enumerate(list_in(row, "history"), 1):
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(turn, str) and turn.strip() for turn in pair):
            raise RowError(
                "history",
                f"history {number} should be a pair of texts [question, answer]",
                f"history 第 {number} 项应为一对文字 [问, 答]",
            )
        turns += [Turn("user", pair[0]), Turn("assistant", pair[1])]
    return turns


def _instruction(row: Row) -> str:
    context = context_in(row)
    task = text_in(row, "instruction") if row["instruction"] or not context else ""
    return f"{task}\n{context}" if task and context else task or context


def context_in(row: Row) -> str:
    """Return the texts that belong to the question, each on its line."""
    context = ""
    for key in CONTEXTS:
        if row.get(key):
            text = text_in(row, key)
            context = f"{context}\n{text}" if context else text
    return context


def _with_answer(row: Row, question: list[Turn], answer: str) -> Example:
    turns = [*history(row), *question, Turn("assistant", answer, (), _thoughts(row))]
    return conversation(turns, row)


def _thoughts(row: Row) -> tuple[tuple[str, str], ...]:
    """Return the thoughts before the answer, from their column."""
    for key in REASONING_COLUMNS if not THOUGHTS.isdisjoint(row) else ():
        if row.get(key):
            return ((REASONING, text_in(row, key)),)
    return ()
