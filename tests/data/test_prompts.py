"""Prompts for a model, and the columns that reward functions get with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, complaints, examples, turns, write

S = {"role": "system", "content": "s"}
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "1"}
ASKED = [("user", "q")]

PROMPTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]], dict[str, Any]]] = {
    "prompt text": ({"prompt": "q", "level": 3}, ASKED, {"level": 3}),
    "prompt list": ({"prompt": [S, Q]}, [("system", "s"), *ASKED], {}),
    "messages": ({"messages": [Q], "solution": "4"}, ASKED, {"solution": "4"}),
    "conversations": (
        {"conversations": [{"from": "human", "value": "q"}], "system": "s"},
        [("system", "s"), *ASKED],
        {},
    ),
    "instruction and input": ({"instruction": "q", "input": "x"}, [("user", "q\nx")], {}),
    "history": (
        {"query": "q", "history": [["h", "r"]]},
        [("user", "h"), ("assistant", "r"), *ASKED],
        {},
    ),
    "a whole conversation": ({"messages": [Q, A]}, ASKED, {"solution": "a"}),
    "with a solution of its own": (
        {"messages": [Q, A], "solution": "4"},
        ASKED,
        {"solution": "4"},
    ),
    "with an empty solution": ({"messages": [Q, A], "solution": None}, ASKED, {"solution": "a"}),
    "question and answer": (
        {"question": "q", "answer": "4"},
        ASKED,
        {"answer": "4", "solution": "4"},
    ),
    "problem, answer and solution": (
        {"problem": "q", "answer": "4", "solution": "2+2"},
        ASKED,
        {"answer": "4", "solution": "2+2"},
    ),
    "alpaca": (
        {"instruction": "q", "output": "a"},
        ASKED,
        {"output": "a", "solution": "a"},
    ),
    "after a tool": (
        {"messages": [Q, CALLS, RESULT, A]},
        [("user", "q"), ("assistant", ""), ("tool", "1")],
        {"solution": "a"},
    ),
    "an answer that calls": (
        {"messages": [Q, CALLS]},
        ASKED,
        {
            "solution": '[{"type": "function", "function": {"name": "f", "arguments": "{}"}}]',
        },
    ),
    "a pair": (
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        ASKED,
        {"chosen": "a", "rejected": "b"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_every_row_with_a_prompt_keeps_its_other_columns(name: str, tmp_path: Path) -> None:
    row, expected, columns = PROMPTS[name]
    (example,) = examples(write(tmp_path / "a.jsonl", row), "grpo")
    assert turns(example) == expected
    assert dict(example.columns) == columns


def test_the_tools_of_a_prompt_are_not_a_column(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    (example,) = examples(write(tmp_path / "a.jsonl", {"prompt": "q", "tools": [tool]}), "grpo")
    assert (example.tools, example.columns) == ((tool,), ())


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "empty prompt": ({"prompt": " "}, "prompt is empty"),
    "null prompt": ({"prompt": None}, "has no prompt: prompt"),
    "two answers": ({"messages": [Q, A, A]}, "the prompt should end with a user turn"),
    "no user": ({"messages": [S]}, "has no user turn"),
    "only an answer": ({"messages": [A]}, "has no prompt"),
    "raw text": ({"text": "x"}, "text rows are for stage: pt, not grpo"),
    "no prompt": ({"chosen": [Q, A], "rejected": [Q, A]}, "chosen-rejected rows are for stage:"),
    "unknown": ({"promt": "q"}, "columns: {promt: prompt} renames one"),
    "images": ({"prompt": "q", "images": ["a.png"]}, "has images"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_row_without_a_prompt_is_refused_with_line_and_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, expected = BROKEN[name]
    path = write(tmp_path / "a.jsonl", {"prompt": "q"}, row)
    (line,) = complaints(path, "grpo")
    assert line.startswith("a.jsonl:2 ")
    assert expected in line
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in complaints(path, "grpo")[0])
