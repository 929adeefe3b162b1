"""Rows of preferences, labels and prompts: every way to write them, and every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftbox.data.check import check_rows
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.data.formats import read_row
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import DataError

Q, A, B = ("user", "q"), ("assistant", "a"), ("assistant", "b")
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def turns(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in pairs]


def sharegpt(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return [{"from": names[role], "value": content} for role, content in pairs]


def plain(messages: tuple[Turn, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in messages]


S = ("system", "s")
EARLIER = [("user", "q1"), ("assistant", "a1")]

PAIRS: dict[str, tuple[dict[str, Any], list[tuple[str, str]], list[tuple[str, str]]]] = {
    "ms-swift text": (
        {"messages": turns(S, Q, A), "rejected_response": "b"},
        [S, Q, A],
        [S, Q, B],
    ),
    "ms-swift messages": (
        {"messages": turns(Q, A), "rejected_messages": turns(Q, B)},
        [Q, A],
        [Q, B],
    ),
    "ms-swift last turn": (
        {"messages": turns(Q, A), "rejected_messages": turns(B)},
        [Q, A],
        [Q, B],
    ),
    "texts": ({"prompt": "q", "chosen": "a", "rejected": "b"}, [Q, A], [Q, B]),
    "prompt messages": (
        {"prompt": turns(S, *EARLIER, Q), "chosen": turns(A), "rejected": turns(B)},
        [S, *EARLIER, Q, A],
        [S, *EARLIER, Q, B],
    ),
    "prompt text, answers as messages": (
        {"prompt": "q", "chosen": turns(A), "rejected": turns(B)},
        [Q, A],
        [Q, B],
    ),
    "answers that repeat the prompt": (
        {"prompt": "q", "chosen": turns(Q, A), "rejected": turns(Q, B)},
        [Q, A],
        [Q, B],
    ),
    "no prompt": ({"chosen": turns(Q, A), "rejected": turns(Q, B)}, [Q, A], [Q, B]),
    "llama-factory alpaca": (
        {"instruction": "q", "input": "x", "chosen": "a", "rejected": "b"},
        [("user", "q\nx"), A],
        [("user", "q\nx"), B],
    ),
    "llama-factory sharegpt": (
        {
            "conversations": sharegpt(Q),
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        [Q, A],
        [Q, B],
    ),
    "query and history": (
        {"query": "q", "response": "a", "rejected_response": "b", "history": [["q1", "a1"]]},
        [*EARLIER, Q, A],
        [*EARLIER, Q, B],
    ),
    "system column": (
        {"system": "s", "prompt": "q", "chosen": "a", "rejected": "b"},
        [S, Q, A],
        [S, Q, B],
    ),
}


@pytest.mark.parametrize("stage", ["dpo", "orpo", "simpo", "cpo", "reward"])
@pytest.mark.parametrize("name", PAIRS)
def test_every_way_to_write_a_pair_is_read(name: str, stage: str) -> None:
    row, chosen, rejected = PAIRS[name]
    _, example = read_row(row, stage)
    assert plain(example.messages) == chosen
    assert plain(example.rejected) == rejected


def test_a_pair_may_use_tools() -> None:
    row = {
        "messages": [*turns(Q), CALL, {"role": "tool", "content": "1"}, *turns(A)],
        "rejected_response": "b",
        "tools": [TOOL],
    }
    _, example = read_row(row, "dpo")
    assert example.tools == (TOOL,)
    assert [turn.role for turn in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert plain(example.rejected)[-1] == B


def test_a_margin_is_kept() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5}
    assert read_row(row, "reward")[1].margin == 0.5


LABELS: dict[str, tuple[dict[str, Any], bool]] = {
    "messages": ({"messages": turns(Q, A), "label": True}, True),
    "completion": ({"prompt": "q", "completion": "a", "label": False}, False),
    "message lists": ({"prompt": turns(Q), "completion": turns(A), "label": True}, True),
    "sharegpt and kto_tag": ({"conversations": sharegpt(Q, A), "kto_tag": True}, True),
    "alpaca and kto_tag": ({"instruction": "q", "output": "a", "kto_tag": False}, False),
    "a csv cell": ({"prompt": "q", "completion": "a", "label": "False"}, False),
    "a number": ({"prompt": "q", "completion": "a", "label": 1}, True),
}


@pytest.mark.parametrize("name", LABELS)
def test_every_way_to_write_a_judged_answer_is_read(name: str) -> None:
    row, label = LABELS[name]
    _, example = read_row(row, "kto")
    assert plain(example.messages) == [Q, A]
    assert example.label is label


PROMPTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"prompt": "q", "level": 3}, {"level": 3}),
    "messages": ({"messages": turns(Q)}, {}),
    "an answered row": ({"messages": turns(Q, A)}, {"solution": "a"}),
    "question and answer": ({"question": "q", "answer": "4"}, {"answer": "4", "solution": "4"}),
    "a solution of its own": (
        {"prompt": "q", "solution": "5", "answer": "x"},
        {"solution": "5", "answer": "x"},
    ),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_every_way_to_write_a_prompt_is_read(name: str) -> None:
    row, columns = PROMPTS[name]
    _, example = read_row(row, "grpo")
    assert plain(example.messages) == [Q]
    assert dict(example.columns) == columns


GOOD = {"prompt": "q", "chosen": "a", "rejected": "b"}

BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "identical": ({**GOOD, "rejected": "a"}, "dpo", "no preference to learn"),
    "empty chosen": ({**GOOD, "chosen": " "}, "dpo", "chosen is empty"),
    "empty rejected": ({**GOOD, "rejected": ""}, "orpo", "rejected is empty"),
    "a number for an answer": ({**GOOD, "chosen": 5}, "dpo", "chosen should be text (got number)"),
    "no rejected": ({"prompt": "q", "chosen": "a"}, "dpo", "also need one of: rejected"),
    "sft rows": ({"messages": turns(Q, A)}, "dpo", "rejected_response"),
    "pairs to sft": (GOOD, "sft", "are for stage: dpo"),
    "ms-swift pairs to sft": (
        {"messages": turns(Q, A), "rejected_response": "b"},
        "sft",
        "are for stage: dpo",
    ),
    "margin of text": ({**GOOD, "margin": "much"}, "reward", "margin should be a number"),
    "no label": ({"prompt": "q", "completion": "a"}, "kto", "also need label or kto_tag"),
    "a label in words": (
        {"prompt": "q", "completion": "a", "label": "good"},
        "kto",
        "label should be true or false (got good)",
    ),
    "labels to dpo": (
        {"prompt": "q", "completion": "a", "label": True},
        "dpo",
        "are for stage: kto",
    ),
    "nothing to ask": ({"messages": turns(S)}, "grpo", "has no user turn"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_refused_with_its_reason(name: str) -> None:
    row, stage, expected = BROKEN[name]
    with pytest.raises(RowError) as caught:
        read_row(row, stage)
    assert expected in caught.value.en
    assert caught.value.zh


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_of_a_file_is_reported_with_its_line(name: str, tmp_path: Path) -> None:
    row, stage, expected = BROKEN[name]
    path = tmp_path / "rows.jsonl"
    good = {"kto": LABELS["messages"][0], "sft": {"messages": turns(Q, A)}, "grpo": {"prompt": "q"}}
    lines = [good.get(stage, GOOD), row]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    with pytest.raises(DataError) as caught:
        check_rows([RowSource(str(path))], stage=stage, max_bad_rows=0)
    assert "rows.jsonl:2 " in caught.value.message
    assert expected in caught.value.message


def report(rows: list[dict[str, Any]], stage: str, tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return check_rows([RowSource(str(path))], stage=stage, max_bad_rows=0).summary()


def test_a_length_bias_and_repeated_prompts_are_reported(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "a" * (10 + at), "rejected": "b"} for at in range(4)]
    summary = report(rows, "dpo", tmp_path)
    assert "longer in 100%" in summary
    assert "longer rather than better" in summary
    assert "3 rows repeat the prompt of an earlier row" in summary


def test_the_balance_of_labels_comes_with_advice(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{at}", "completion": "a", "label": at < 2} for at in range(10)]
    summary = report(rows, "kto", tmp_path)
    assert "answers: 2 desirable, 8 undesirable" in summary
    assert "desirable_weight: 4 to 5.33 balances them" in summary


def test_equal_pairs_are_counted_as_duplicates(tmp_path: Path) -> None:
    assert "1 exact duplicate" in report([GOOD, GOOD], "dpo", tmp_path)


def test_ranking_files_of_llama_factory_are_read_by_their_registry(tmp_path: Path) -> None:
    (tmp_path / "rank.json").write_text(
        json.dumps([{"q": "q", "good": "a", "worse": "b"}]), "utf-8"
    )
    (tmp_path / "dataset_info.json").write_text(
        json.dumps(
            {
                "mine": {
                    "file_name": "rank.json",
                    "ranking": True,
                    "columns": {"prompt": "q", "chosen": "good", "rejected": "worse"},
                }
            }
        ),
        "utf-8",
    )
    sources = parse_sources([str(tmp_path / "rank.json")], columns={})
    assert check_rows(sources, stage="dpo", max_bad_rows=0).formats == {"chosen-rejected": 1}


def test_examples_with_different_rejected_turns_differ() -> None:
    preference = Example(messages=(Turn(*A),), rejected=(Turn(*B),))
    assert preference != Example(messages=(Turn(*A),))
