"""Rows as published datasets write them, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_files import examples, source, turns, write

from swiftbox.data.check import check_rows
from swiftbox.data.column_names import SPELLINGS
from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import KNOWN, OPTIONAL, read_row
from swiftbox.data.shapes import SHAPES

QA = [("user", "q"), ("assistant", "a")]
SQA = [("system", "s"), *QA]


def read(row: dict[str, Any], stage: str = "sft") -> Example:
    return read_row(row, stage)[1]


ROWS: dict[str, tuple[dict[str, Any], list[tuple[str, str]], tuple[str, ...]]] = {
    "OpenOrca": (
        {"id": "n.1", "system_prompt": "s", "question": "q", "response": "a"}, SQA, ("id",),
    ),
    "dolly": (
        {"instruction": "q", "context": "c", "response": "a", "category": "qa"},
        [("user", "q\nc"), QA[1]], ("category",),
    ),
    "dolly without context": (
        {"instruction": "q", "context": "", "response": "a", "category": "qa"}, QA, ("category",),
    ),
    "natural-instructions": (
        {"task_name": "t", "id": "1", "definition": "i", "inputs": "q", "targets": "a"},
        [("user", "i\nq"), QA[1]], ("id", "task_name"),
    ),
    "WildChat": (
        {"conversation_hash": "h", "turn": 1, "toxic": False, "conversation": [
            {"role": "user", "content": "q", "country": "x", "toxic": False},
            {"role": "assistant", "content": "a", "country": None, "toxic": False},
        ]},
        QA,
        (
            "conversation_hash", "toxic", "turn",
            "conversations[].country", "conversations[].toxic",
        ),
    ),
    "HelpSteer2": (
        {"prompt": "q", "response": "a", "helpfulness": 3, "correctness": 4},
        QA, ("correctness", "helpfulness"),
    ),
    "MetaMathQA": (
        {"type": "t", "query": "q", "original_question": "o", "response": "a"},
        QA, ("original_question", "type"),
    ),
    "firefly": ({"kind": "Poetry", "input": "q", "target": "a"}, QA, ("kind",)),
    "DISC-Law": ({"id": "1", "input": "q", "output": "a"}, QA, ("id",)),
    "DISC-Med": (
        {"_id": 1, "conversation": [{"role": "user", "content": "q"},
                                    {"role": "assistant", "content": "a"}]},
        QA, ("_id",),
    ),
    "AdvertiseGen": ({"content": "q", "summary": "a"}, QA, ()),
    "Zhihu-KOL": (
        {"INSTRUCTION": "q", "RESPONSE": "a", "SOURCE": "Zhihu", "METADATA": "{}"},
        QA, ("METADATA", "SOURCE"),
    ),
    "COIG-CQIA": (
        {"instruction": "q", "input": "", "output": "a", "task_type": {"major": ["x"]}},
        QA, ("task_type",),
    ),
    "belle": ({"instruction": "q", "input": "", "output": "a"}, QA, ()),
    "belle of several turns": (
        {"instruction": "Human:q\nAssistant:a\nHuman:q\nAssistant:", "input": "", "output": "a"},
        [*QA, *QA], (),
    ),
    "AgentInstruct": (
        {"id": "os_0", "conversations": [
            {"from": "human", "loss": None, "value": "q"},
            {"from": "gpt", "loss": True, "value": "a"},
        ]},
        QA, ("id",),
    ),
    "SlimOrca": (
        {"conversations": [
            {"from": "system", "value": "s", "weight": None},
            {"from": "human", "value": "q", "weight": 0.0},
            {"from": "gpt", "value": "a", "weight": 1.0},
        ]},
        SQA, (),
    ),
    "LMSYS": (
        {"conversation_id": "x", "conversation": [
            {"role": "user", "content": "q", "toxic": False},
            {"role": "assistant", "content": "a", "toxic": None},
        ]},
        QA, ("conversation_id", "conversations[].toxic"),
    ),
    "LIMA": ({"conversations": ["q", "a"], "source": "x"}, QA, ("source",)),
    "UltraChat": ({"id": "0", "data": ["q", "a"]}, QA, ("id",)),
    "MOSS": (
        {"conversation": [{"human": "q", "assistant": "a"}], "category": "x"}, QA, ("category",),
    ),
    "openassistant-guanaco": ({"text": "### Human: q### Assistant: a"}, QA, ()),
    "Aya": ({"inputs": "q", "targets": "a", "language": "en"}, QA, ("language",)),
    "Magicoder": ({"lang": "py", "problem": "q", "solution": "a"}, QA, ("lang",)),
    "sql-create-context": (
        {"answer": "a", "question": "q", "context": "CREATE TABLE t (x INT)"},
        [("user", "q\nCREATE TABLE t (x INT)"), QA[1]], (),
    ),
    "synthetic_text_to_sql": (
        {"id": 1, "sql_prompt": "q", "sql_context": "c", "sql": "a", "sql_explanation": "e"},
        [("user", "q\nc"), QA[1]], ("id", "sql_explanation"),
    ),
    "text-to-SQL with a schema": (
        {"question": "q", "schema": "c", "sql": "a"}, [("user", "q\nc"), QA[1]], (),
    ),
    "Text-to-sql-v1": (
        {"instruction": "q", "input": "c", "response": "a", "source": "x"},
        [("user", "q\nc"), QA[1]], ("source",),
    ),
    "cMedQA": ({"department": "x", "ask": "q", "answer": "a"}, QA, ("department",)),
    "ai-medical-chatbot": (
        {"Description": "d", "Patient": "q", "Doctor": "a"}, QA, ("Description",),
    ),
    "mental_health_counseling": ({"Context": "q", "Response": "a"}, QA, ()),
    "Chinese columns": ({"系统": "s", "问题": "q", "答案": "a"}, SQA, ()),
    "Chinese alpaca": (
        {"指令": "q", "输入": "c", "输出": "a"}, [("user", "q\nc"), QA[1]], (),
    ),
    "Chinese input and output": ({"输入": "q", "输出": "a", "类别": "x"}, QA, ("类别",)),
    "null-padded columns": (
        {"messages": None, "conversations": None, "question": "q", "answer": "a", "text": None},
        QA, (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_a_published_dataset_is_read(name: str) -> None:
    row, expected, unused = ROWS[name]
    example = read(row)
    assert (turns(example), example.unused) == (expected, unused)


def test_the_turns_of_agents_that_are_not_learned_keep_their_place() -> None:
    row = {
        "conversations": [
            {"from": "human", "loss": None, "value": "rules"},
            {"from": "gpt", "loss": False, "value": "OK"},
            {"from": "human", "loss": None, "value": "q"},
            {"from": "gpt", "loss": True, "value": "a"},
        ]
    }
    assert [turn.weight for turn in read(row).messages] == [1, 0, 1, 1]


def test_the_answers_of_pairs_that_are_not_learned_keep_their_place() -> None:
    turns_of_row = [
        {"input": "rules", "output": "OK", "output_with_loss": False},
        {"input": "q", "output": "a"},
    ]
    assert [turn.weight for turn in read({"conversation": turns_of_row}).messages] == [1, 0, 1, 1]


def test_thoughts_in_their_column_belong_to_the_answer() -> None:
    for row in (
        {"input": "q", "content": "a", "reasoning_content": "r", "score": 9},
        {"question": "q", "answer": "a", "reasoning": "r"},
        {"问题": "q", "回答": "a", "思考过程": "r"},
        {"instruction": "q", "output": "a", "thinking": "r"},
    ):
        example = read(row)
        assert turns(example) == QA
        assert dict(example.messages[1].extra) == {"reasoning_content": "r"}


def test_calls_that_answer_a_question_are_read_with_their_tools() -> None:
    example = read(
        {
            "id": 0,
            "query": "q",
            "answers": '[{"name": "f", "arguments": {"x": 1}}]',
            "tools": '[{"name": "f", "description": "d", "parameters": {'
            '"x": {"description": "n", "type": "int"},'
            '"y": {"description": "o", "type": "str, optional", "default": "z"}}}]',
        }
    )
    (call,) = example.messages[1].tool_calls
    assert call["function"] == {"name": "f", "arguments": {"x": 1}}
    parameters = example.tools[0]["function"]["parameters"]
    assert (parameters["type"], parameters["required"]) == ("object", ["x"])
    assert parameters["properties"]["x"]["type"] == "integer"
    assert parameters["properties"]["y"]["type"] == "string"


def test_a_schema_beside_calls_is_not_changed() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "int"}}}
    row = {"query": "q", "answers": [{"name": "f"}], "tools": [{"name": "f", "parameters": schema}]}
    assert read(row).tools[0]["function"]["parameters"] == schema


HUMAN = "\n\nHuman: q\n\nAssistant:"

PAIRS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "hh-rlhf": ({"chosen": f"{HUMAN} a", "rejected": f"{HUMAN} b"}, ()),
    "full-hh-rlhf": (
        {"prompt": HUMAN, "response": "a", "chosen": "a", "rejected": "b"}, ("response",),
    ),
    "stack-exchange-paired": (
        {"qid": 1, "question": "q", "response_j": "a", "response_k": "b"}, ("qid",),
    ),
    "PKU-SafeRLHF": (
        {"prompt": "q", "response_0": "b", "response_1": "a", "better_response_id": 1,
         "safer_response_id": 0},
        ("safer_response_id",),
    ),
    "orca_dpo_pairs of distilabel": (
        {"system": "", "input": "q", "chosen": "a", "rejected": "b", "order": ["x"]}, ("order",),
    ),
    "ultrafeedback_binarized": (
        {"prompt": "q", "prompt_id": "x", "score_chosen": 8.0, "score_rejected": 3.0,
         "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
         "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]},
        ("prompt_id", "score_chosen", "score_rejected"),
    ),
    "thoughts of only one answer": (
        {"question": "q", "reasoning": "r", "answer": "a", "rejected": "b"}, ("reasoning",),
    ),
    "chosen_response": ({"prompt": "q", "chosen_response": "a", "rejected_response": "b"}, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_of_a_published_dataset_is_read(name: str) -> None:
    row, unused = PAIRS[name]
    example = read(row, "dpo")
    assert turns(example) == QA
    assert [turn.content for turn in example.rejected] == ["q", "b"]
    assert example.unused == unused


def test_a_text_in_the_column_content_is_pretrained_on() -> None:
    example = read({"title": "t", "content": "raw"}, "pt")
    assert (example.text, example.unused) == ("raw", ("title",))


def test_the_context_of_a_question_belongs_to_it_in_pairs_too() -> None:
    for row in (
        {"question": "q", "context": "c", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "input": "c", "chosen": "a", "rejected": "b"},
        {"query": "q", "input": "c", "answer": "a", "rejected": "b"},
    ):
        example = read(row, "dpo")
        assert (turns(example)[0], example.unused) == (("user", "q\nc"), ())
    example = read({"input": "q", "chosen": "a", "rejected": "b"}, "dpo")
    assert turns(example)[0] == ("user", "q")


def test_a_transcript_of_several_turns_differs_only_in_its_last_answer() -> None:
    start = "\n\nHuman: q\n\nAssistant: a\n\nHuman: more\n\nAssistant:"
    example = read({"chosen": f"{start} yes\nindeed", "rejected": f"{start} no"}, "dpo")
    assert turns(example) == [*QA, ("user", "more"), ("assistant", "yes\nindeed")]
    assert example.rejected[-1].content == "no"


def test_rewards_get_all_columns_and_the_prompt_any_spelling() -> None:
    example = read({"Question": "q", "Answer": "4", "level": 3}, "grpo")
    assert turns(example) == [("user", "q")]
    assert dict(example.columns) == {"Answer": "4", "level": 3}
    assert example.unused == ()


def test_labelled_answers_may_answer_an_instruction() -> None:
    example = read({"instruction": "q", "response": "a", "label": True}, "kto")
    assert (turns(example), example.label) == (QA, True)


HOSTILE: dict[str, tuple[str, dict[str, Any], str]] = {
    "a context in a list": (
        "sft", {"question": "q", "context": ["c"], "answer": "a"}, "context should be text",
    ),
    "no calls": (
        "sft", {"query": "q", "tools": [], "answers": "[]"}, "answers should be a list of calls",
    ),
    "calls in prose": (
        "sft", {"query": "q", "tools": [], "answers": "f(1)"}, "answers should be a list of calls",
    ),
    "a call without a name": (
        "sft", {"query": "q", "tools": [], "answers": [{"x": 1}]}, "a function with a name",
    ),
    "tools in prose": (
        "sft", {"query": "q", "tools": "f", "answers": [{"name": "f"}]}, "tools should be a list",
    ),
    "the better of three": (
        "dpo",
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 2},
        "better_response_id should be 0 or 1 (got 2)",
    ),
    "a better answer in words": (
        "dpo",
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": True},
        "should be 0 or 1 (got True)",
    ),
    "two equal answers": (
        "dpo",
        {"prompt": "q", "response_0": "a", "response_1": "a", "better_response_id": 0},
        "identical",
    ),
    "a transcript without an answer": (
        "dpo", {"chosen": HUMAN, "rejected": f"{HUMAN} b"}, "no assistant turn",
    ),
    "transcripts of two questions": (
        "dpo",
        {"chosen": f"{HUMAN} a", "rejected": "\n\nHuman: r\n\nAssistant: b"},
        "differ at message 1",
    ),
    "a transcript that is none": ("sft", {"text": "### Human beings"}, "are for stage: pt"),
    "a transcript with an empty question": (
        "sft", {"text": "### Human:### Assistant: a"}, "the user turn is empty",
    ),
    "thoughts that are none": (
        "sft", {"question": "q", "answer": "a", "reasoning": ["r"]}, "reasoning should be text",
    ),
    "data that is no conversation": ("sft", {"id": 1, "data": "x"}, "should be a list"),
    "a conversation in an object": (
        "sft", {"conversation": {"turn_1": {"Human": "q"}}}, "should be a list",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_row_that_only_looks_like_a_published_dataset_is_refused(name: str) -> None:
    stage, row, expected = HOSTILE[name]
    with pytest.raises(RowError) as caught:
        read(row, stage)
    assert expected in caught.value.reason


def test_two_spellings_of_a_column_of_a_shape_are_asked_for() -> None:
    with pytest.raises(RowError, match="columns") as caught:
        read({"Input": "q", "input": "r", "target": "a"})
    assert caught.value.kind == "columns"
    assert read({"ID": 1, "id": 2, "input": "q", "target": "a"}).messages[0].content == "q"


def test_every_name_of_the_tables_is_one_of_ours() -> None:
    names = {
        name for shape in SHAPES for name in (*shape.columns.values(), *shape.optional.values())
    }
    assert names | set(SPELLINGS.values()) <= KNOWN | OPTIONAL


def test_columns_that_nobody_reads_are_named_with_their_count(tmp_path: Path) -> None:
    rows = [
        {"instruction": "q", "input": "", "output": "a", "source": "wiki", "license": "cc"},
        {"instruction": "r", "input": "", "output": "b", "source": None, "license": "cc"},
    ]
    path = write(tmp_path / "a.jsonl", *rows)
    checked = check_rows(source(path), stage="sft", max_bad_rows=0)
    assert "columns not used: license (2), source (1)" in checked.summary()
    assert checked.data()["unused"] == {"license": 2, "source": 1}


def test_a_label_in_capitals_is_a_column_like_any_other() -> None:
    row = {"question": "q", "answer": "a", "Label": 1}
    assert read(row).unused == ("Label",)
    assert read(row, "kto").label is True


def test_pictures_in_capitals_are_not_left_out_in_silence() -> None:
    with pytest.raises(RowError, match="has images"):
        read({"question": "q", "answer": "a", "Images": ["a.png"]})


def test_a_column_that_the_user_leaves_out_is_not_named(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "a", "response": "b", "notes": "n"}
    path = write(tmp_path / "a.jsonl", row)
    (example,) = examples(path, response="unused", notes="unused")
    assert (turns(example), example.unused) == (QA, ())
