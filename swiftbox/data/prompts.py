"""Rows that are a prompt for a model to answer itself, with what reward functions need to judge."""

from __future__ import annotations

import json
from typing import Any

from swiftbox.data.cells import Row
from swiftbox.data.conversations import ANSWERS, ASKING, WHOLE, asked_in
from swiftbox.data.example import Example, Message, RowError
from swiftbox.data.turns import prompt_turns, read_tools

SOLUTION = "solution"
"""The column that holds the answer of a row, by the name that reward functions know (TRL)."""

TOLD = ("system", "tools", "history")
"""Columns that become part of the prompt itself."""


def read_prompt(row: Row) -> Example:
    """Read any row that asks something; every column that is not the prompt goes along.

    The last answer of a whole conversation is taken off and kept as `solution`, and so is an
    answer in a column of its own, unless the row has a `solution`.
    """
    turns = asked_in(row)
    answer: Message | None = None
    if turns and turns[-1].role == "assistant":
        answer = turns.pop()
    if not turns:
        names = " | ".join(ASKING[:4])
        raise RowError("empty", f"asks nothing: {names} is empty", f"没有提问：{names} 为空")
    prompt = prompt_turns(turns, row)
    columns = _columns(row)
    if columns.get(SOLUTION) is None:
        solution = _solution(row, answer)
        columns = columns if solution is None else {**columns, SOLUTION: solution}
    tools = read_tools(row) if "tools" in row else ()
    return Example(prompt, tools, columns=tuple(columns.items()))


def _columns(row: Row) -> dict[str, Any]:
    asking = next(name for name in ASKING if row.get(name) is not None)
    used = {asking, *TOLD} - ({"history"} if asking in WHOLE else set())
    if asking == "instruction":
        used.add("input")
    return {key: value for key, value in row.items() if key not in used}


def _solution(row: Row, answer: Message | None) -> Any:
    if answer is not None:
        return answer.content or json.dumps(list(answer.tool_calls), ensure_ascii=False)
    return next((row[name] for name in ANSWERS if row.get(name) is not None), None)
