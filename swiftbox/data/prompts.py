"""Rows that are a prompt for the model to answer, with the columns that reward functions need."""

from __future__ import annotations

import json
from typing import Any

from swiftbox.data.cells import Row
from swiftbox.data.column_names import ANSWERS, CONVERSATION_COLUMNS, PROMPT_COLUMNS, UNUSED
from swiftbox.data.conversations import prompt_in
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.data.tool_calls import read_tools
from swiftbox.data.turn_order import prompt_turns

SOLUTION = "solution"
"""The column that holds the answer of a row; reward functions know it by this name (TRL)."""

PARTS_OF_PROMPT = ("system", "tools", "history")
"""Columns that become part of the prompt."""


def read_prompt(row: Row) -> Example:
    """Read any row that has a prompt; every other column is kept for reward functions.

    The last answer of a conversation is cut off and becomes `solution`, and so does an answer in a
    separate column, unless the row has a `solution`.
    """
    turns = prompt_in(row)
    answer: Turn | None = None
    if turns and turns[-1].role == "assistant":
        answer = turns.pop()
    if not turns:
        names = " | ".join(PROMPT_COLUMNS[:4])
        raise RowError("empty", f"has no prompt: {names} is empty", f"没有提问：{names} 为空")
    prompt = prompt_turns(turns, row)
    columns = _columns(row)
    if columns.get(SOLUTION) is None:
        solution = _solution(row, answer)
        columns = columns if solution is None else {**columns, SOLUTION: solution}
    tools = read_tools(row) if "tools" in row else ()
    return Example(prompt, tools, columns=tuple(columns.items()))


def _columns(row: Row) -> dict[str, Any]:
    key = next(name for name in PROMPT_COLUMNS if row.get(name) is not None)
    used = {key, *PARTS_OF_PROMPT} - ({"history"} if key in CONVERSATION_COLUMNS else set())
    if key == "instruction":
        used.add("input")
    return {name: value for name, value in row.items() if name not in used and name != UNUSED}


def _solution(row: Row, answer: Turn | None) -> Any:
    if answer is not None:
        return answer.content or json.dumps(list(answer.tool_calls), ensure_ascii=False)
    return next((row[name] for name in ANSWERS if row.get(name) is not None), None)
