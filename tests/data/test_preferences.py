"""Pairs in every way to write them, and mistakes in pairs and labelled answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, complaints, examples, turns, write

from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import FORMATS, read_row

S = {"role": "system", "content": "s"}
B = {"role": "assistant", "content": "b"}
HUMAN, GOOD, POOR = (
    {"from": "human", "value": "q"},
    {"from": "gpt", "value": "a"},
    {"from": "gpt", "value": "b"},
)
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "1"}
PAIR_STAGES = ("dpo", "orpo", "simpo", "cpo", "reward")

CHOSEN, REJECTED = [("user", "q"), ("assistant", "a")], [("user", "q"), ("assistant", "b")]
EARLIER = [("user", "h"), ("assistant", "r")]
TURNS = [{"role": role, "content": content} for role, content in EARLIER]
SYSTEM = [("system", "s")]
CALLED = [("user", "q"), ("assistant", ""), ("tool", "1")]

Told = list[tuple[str, str]]

PAIRS: dict[str, tuple[dict[str, Any], Told]] = {
    "messages and rejected_response": ({"messages": [Q, A], "rejected_response": "b"}, []),
    "conversations and rejected_response": (
        {"conversations": [HUMAN, GOOD], "rejected_response": "b", "system": "s"},
        SYSTEM,
    ),
    "several turns and rejected_response": (
        {"messages": [S, *TURNS, Q, A], "rejected_response": "b"},
        [*SYSTEM, *EARLIER],
    ),
    "rejected_messages, whole": (
        {"messages": [*TURNS, Q, A], "rejected_messages": [*TURNS, Q, B]},
        EARLIER,
    ),
    "rejected_messages, final": ({"messages": [*TURNS, Q, A], "rejected_messages": [B]}, EARLIER),
    "rejected_messages without the system text": (
        {"messages": [S, Q, A], "rejected_messages": [Q, B]},
        SYSTEM,
    ),
    "messages and rejected": ({"messages": [Q, A], "rejected": [Q, B]}, []),
    "empty cells beside the one that is filled": (
        {"messages": [Q, A], "rejected_messages": "", "rejected_response": "b", "system": ""},
        [],
    ),
    "query, response and rejected_response": (
        {"query": "q", "response": "a", "rejected_response": "b", "history": [["h", "r"]]},
        EARLIER,
    ),
    "instruction, output and rejected_response": (
        {"instruction": "q", "output": "a", "rejected_response": "b", "system": "s"},
        SYSTEM,
    ),
    "prompt, texts": ({"prompt": "q", "chosen": "a", "rejected": "b"}, []),
    "prompt, lists": ({"prompt": [S, Q], "chosen": [A], "rejected": [B]}, SYSTEM),
    "prompt, lists that repeat it": (
        {"prompt": [*TURNS, Q], "chosen": [*TURNS, Q, A], "rejected": [*TURNS, Q, B]},
        EARLIER,
    ),
    "prompt text, lists that repeat it": (
        {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B]},
        [],
    ),
    "prompt text, lists, and the better conversation": (
        {"prompt": "q", "messages": [Q, A], "chosen": [Q, A], "rejected": [Q, B]},
        [],
    ),
    "prompt list, texts": ({"prompt": [S, Q], "chosen": "a", "rejected": "b"}, SYSTEM),
    "prompt of a system text": (
        {"prompt": [S], "chosen": [Q, A], "rejected": [Q, B]},
        SYSTEM,
    ),
    "messages as the prompt": ({"messages": [S, Q], "chosen": "a", "rejected": "b"}, SYSTEM),
    "no prompt": (
        {"chosen": [S, *TURNS, Q, A], "rejected": [S, *TURNS, Q, B]},
        [*SYSTEM, *EARLIER],
    ),
    "no prompt, system in a column": (
        {"chosen": [Q, A], "rejected": [Q, B], "system": "s"},
        SYSTEM,
    ),
    "an empty prompt": ({"prompt": [], "chosen": [Q, A], "rejected": [Q, B]}, []),
    "instruction, chosen, rejected": (
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b", "history": [["h", "r"]]},
        EARLIER,
    ),
    "conversations, objects": (
        {"conversations": [HUMAN], "chosen": GOOD, "rejected": POOR, "system": "s"},
        SYSTEM,
    ),
    "lists in JSON": (
        {"prompt": "q", "chosen": json.dumps([A]), "rejected": json.dumps([Q, B])},
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("stage", PAIR_STAGES)
@pytest.mark.parametrize("name", PAIRS)
def test_every_way_to_write_a_pair_loads(name: str, stage: str, tmp_path: Path) -> None:
    row, before = PAIRS[name]
    (example,) = examples(write(tmp_path / "a.jsonl", row), stage)
    assert turns(example) == before + CHOSEN
    assert [(turn.role, turn.content) for turn in example.rejected] == before + REJECTED
    assert (example.label, example.margin) == (None, None)


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_two_labelled_answers_for_kto(name: str, tmp_path: Path) -> None:
    row, before = PAIRS[name]
    good, poor = examples(write(tmp_path / "a.jsonl", row), "kto")
    assert (turns(good), good.label) == (before + CHOSEN, True)
    assert (turns(poor), poor.label) == (before + REJECTED, False)
    assert not good.rejected
    assert not poor.rejected


def test_tools_and_calls_go_with_both_sides() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    rows = (
        {"messages": [Q, CALLS, RESULT, A], "rejected_response": "b"},
        {"messages": [Q, CALLS, RESULT, A], "rejected_messages": [CALLS, RESULT, B]},
        {"prompt": [Q], "chosen": [CALLS, RESULT, A], "rejected": [CALLS, RESULT, B]},
    )
    for row in rows:
        example = read({**row, "tools": [tool]})
        assert turns(example) == [*CALLED, ("assistant", "a")]
        assert [(turn.role, turn.content) for turn in example.rejected] == [
            *CALLED,
            ("assistant", "b"),
        ]
        assert example.rejected[1].tool_calls == (CALL,)
        assert example.tools == (tool,)


def test_several_final_turns_replace_everything_after_the_user() -> None:
    example = read({"messages": [Q, A], "rejected_messages": [CALLS, RESULT, B]})
    assert [turn.role for turn in example.rejected] == ["user", "assistant", "tool", "assistant"]


def ranked(columns: dict[str, str], **options: Any) -> dict[str, Any]:
    return {"mine": {"file_name": "a.jsonl", "columns": columns, **options}}


RANKING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "texts": (
        ranked({"prompt": "ask", "chosen": "good", "rejected": "poor"}, ranking=True),
        {"ask": "q", "good": "a", "poor": "b"},
    ),
    "their own names": (
        ranked({"prompt": "ask"}, ranking=True),
        {"ask": "q", "chosen": "a", "rejected": "b"},
    ),
    "objects": (
        ranked(
            {"messages": "talk", "chosen": "good", "rejected": "poor"},
            ranking=True,
            formatting="sharegpt",
        ),
        {"talk": [HUMAN], "good": GOOD, "poor": POOR},
    ),
    "objects with tags": (
        ranked(
            {"messages": "talk", "chosen": "good", "rejected": "poor"},
            ranking=True,
            tags={"role_tag": "who", "content_tag": "said", "user_tag": "u", "assistant_tag": "m"},
        ),
        {
            "talk": [{"who": "u", "said": "q"}],
            "good": {"who": "m", "said": "a"},
            "poor": [{"who": "m", "said": "b"}],
        },
    ),
}


@pytest.mark.parametrize("name", RANKING)
def test_rankings_of_dataset_info_are_pairs(name: str, tmp_path: Path) -> None:
    info, row = RANKING[name]
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    (example,) = examples(write(tmp_path / "a.jsonl", row), "dpo")
    assert (turns(example), example.rejected[-1].content) == (CHOSEN, "b")


PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
LIMIT = {"prompt": [Q], "chosen": [A], "rejected": [B]}

BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "identical": (
        "dpo",
        {**PAIR, "rejected": "a"},
        "chosen and rejected are identical",
    ),
    "identical under kto": ("kto", {"chosen": [Q, A], "rejected": [Q, A]}, "are identical"),
    "empty chosen": ("dpo", {**PAIR, "chosen": " "}, "chosen is empty"),
    "empty rejected": ("dpo", {**LIMIT, "rejected": []}, "rejected is empty"),
    "null rejected": ("dpo", {**PAIR, "rejected": None}, "rejected should be text (got null)"),
    "an empty worse answer": (
        "orpo",
        {"messages": [Q, A], "rejected_response": ""},
        "rejected_response is empty",
    ),
    "an empty turn": (
        "dpo",
        {**LIMIT, "rejected": [{"role": "assistant", "content": ""}]},
        "rejected: message 1: the answer is empty",
    ),
    "answers without a prompt": (
        "simpo",
        {"chosen": "a", "rejected": "b"},
        "chosen holds only an answer, and the row has no prompt",
    ),
    "another prompt": (
        "cpo",
        {"prompt": "other", "chosen": [Q, A], "rejected": [Q, B]},
        "chosen does not begin with the prompt of the row",
    ),
    "an answered prompt": (
        "dpo",
        {"messages": [Q, A], "chosen": "a", "rejected": "b"},
        "the prompt ends with an assistant turn",
    ),
    "two questions": (
        "reward",
        {"chosen": [Q, A], "rejected": [{"role": "user", "content": "other"}, B]},
        "chosen and rejected differ at message 1, before their answers",
    ),
    "other whole messages": (
        "dpo",
        {"messages": [S, Q, A], "rejected_messages": [{**S, "content": "t"}, Q, B]},
        "rejected_messages does not begin",
    ),
    "one continues": (
        "dpo",
        {"chosen": [Q, A], "rejected": [Q, A, Q, B]},
        "rejected continues after the end of chosen",
    ),
    "a tool's other answer": (
        "dpo",
        {"chosen": [Q, CALLS, RESULT, A], "rejected": [Q, CALLS, {**RESULT, "content": "2"}, A]},
        "differ at message 3",
    ),
    "instruction without a text": (
        "dpo",
        {"instruction": 5, "chosen": "a", "rejected": "b"},
        "instruction should be text (got number)",
    ),
    "an object without a speaker": (
        "dpo",
        {"conversations": [HUMAN], "chosen": {"value": "a"}, "rejected": POOR},
        "chosen: message 1 has neither role nor from",
    ),
    "a broken query": (
        "dpo",
        {"query": "q", "response": None, "rejected_response": "b"},
        "response should be text (got null)",
    ),
    "images": ("dpo", {**PAIR, "images": ["a.png"]}, "has images"),
    "margin no number": ("reward", {**PAIR, "margin": "big"}, "should be a number (got big)"),
    "margin a boolean": ("reward", {**PAIR, "margin": True}, "should be a number (got boolean)"),
    "margin below 0": ("reward", {**PAIR, "margin": -1}, "margin should be 0 or more"),
    "scores the other way": (
        "reward",
        {**PAIR, "chosen_score": 1, "rejected_score": 2},
        "chosen_score - rejected_score should be 0 or more",
    ),
    "label of words": (
        "kto",
        {"messages": [Q, A], "label": "good"},
        "label should be true or false (got good)",
    ),
    "label of another number": (
        "kto",
        {"prompt": "q", "completion": "a", "label": 2},
        "label should be true or false (got 2)",
    ),
    "no label": ("kto", {"messages": [Q, A], "kto_tag": None}, "kto_tag should be true or"),
    "labelled and unanswered": ("kto", {"messages": [Q], "label": True}, "has no assistant turn"),
    "nothing filled": (
        "dpo",
        {"messages": None, "rejected_response": "b"},
        "none of messages | conversations",
    ),
    "sft rows under dpo": (
        "dpo",
        {"messages": [Q, A]},
        "messages rows are for stage: sft or gkd, not dpo (for dpo they also need "
        "rejected_response, rejected_messages or rejected)",
    ),
    "answers under orpo": (
        "orpo",
        {"prompt": "q", "completion": "a"},
        "query-response rows are for stage: sft or gkd, not orpo",
    ),
    "sft rows under kto": ("kto", {"messages": [Q, A]}, "they also need label or kto_tag"),
    "raw text under dpo": ("dpo", {"text": "x"}, "text rows are for stage: pt, not dpo"),
    "labelled rows under dpo": (
        "dpo",
        {"messages": [Q, A], "label": True},
        "messages-label rows are for stage: kto, not dpo",
    ),
    "pairs under sft": (
        "sft",
        {"messages": [Q, A], "rejected_response": "b"},
        "messages-rejected rows are for stage: dpo, orpo, simpo, cpo, reward or kto, not sft",
    ),
    "chosen and rejected under sft": ("sft", PAIR, "chosen-rejected rows are for stage: dpo"),
    "labelled rows under sft": (
        "sft",
        {"messages": [Q, A], "label": False},
        "label labels the answer as good or bad: train with stage: kto",
    ),
    "only one side": (
        "dpo",
        {"prompt": "q", "chosen": "a"},
        "chosen-rejected rows also need one of: rejected",
    ),
    "a misspelt side": ("dpo", {"prompt": "q", "chosen": "a", "rejectd": "b"}, "rejectd: rejected"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pair_or_label_is_reported_with_line_and_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, row, expected = BROKEN[name]
    path = write(tmp_path / "a.jsonl", "", row)
    line, *_ = complaints(path, stage)
    assert line.startswith("a.jsonl:2 ")
    assert expected in line
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in complaints(path, stage)[0])


def test_turns_of_prompt_and_completion_train_with_sft() -> None:
    assert turns(read({"prompt": [S, Q], "completion": [A]}, "sft")) == SYSTEM + CHOSEN


def test_every_stage_of_the_formats_reads_what_the_others_refuse() -> None:
    rows = {
        "pt": {"text": "x"},
        **{stage: {"messages": [Q, A]} for stage in ("sft", "gkd")},
        **dict.fromkeys(PAIR_STAGES, PAIR),
        "kto": {"messages": [Q, A], "label": True},
        "grpo": {"prompt": "q"},
        "classification": {"text": "x", "label": 1},
    }
    assert set(rows) == {stage for row_format in FORMATS for stage in row_format.stages}
    for stage, row in rows.items():
        assert read_row(row, stage)[1] != Example()


def read(row: dict[str, Any], stage: str = "dpo") -> Example:
    try:
        return read_row(row, stage)[1]
    except RowError as error:
        raise AssertionError(error.reason) from error
