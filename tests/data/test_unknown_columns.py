"""Columns whose meaning is not clear: what is asked, and what is proposed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from row_files import examples, source, write

from swiftbox.data.check import check_rows
from swiftbox.data.example import RowError
from swiftbox.data.formats import column_targets, likely_targets, read_row
from swiftbox.data.proposals import as_columns
from swiftbox.errors import DataError

PROPOSALS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "medical-o1-reasoning": (
        "sft",
        {"Question": "q?", "Complex_CoT": "first this, then that", "Response": "a"},
        {"Question": "query", "Complex_CoT": "reasoning_content", "Response": "response"},
    ),
    "Medical-R1-Distill": (
        "sft",
        {"question": "q", "reasoning (reasoning_content)": "r", "response (content)": "a"},
        {"question": "query", "reasoning (reasoning_content)": "reasoning_content",
         "response (content)": "response"},
    ),
    "NuminaMath-1.5": (
        "sft",
        {"problem": "p", "solution": "a long way to 4", "answer": "4", "problem_type": "Algebra"},
        {"problem": "query", "solution": "response", "answer": "unused"},
    ),
    "OpenMathInstruct-2": (
        "sft",
        {"problem": "p", "generated_solution": "a long way", "expected_answer": "4"},
        {"problem": "query", "generated_solution": "response", "expected_answer": "unused"},
    ),
    "Spider": (
        "sft",
        {"db_id": "c", "query": "SELECT count(*) FROM t", "question": "How many?"},
        {"query": "response", "question": "query"},
    ),
    "SynSQL": (
        "sft",
        {"db_id": "d", "question": "q", "external_knowledge": "k", "cot": "r", "sql": "SELECT 1"},
        {"question": "query", "external_knowledge": "input", "cot": "reasoning_content",
         "sql": "response"},
    ),
    "SAMSum": (
        "sft",
        {"id": "1", "dialogue": "A: hi", "summary": "They greet."},
        {"dialogue": "query", "summary": "response"},
    ),
    "a passage": (
        "sft",
        {"passage": "text", "question": "q", "answer": "a"},
        {"passage": "input", "question": "query", "answer": "response"},
    ),
    "an instruction with its input": (
        "sft",
        {"instruction": "q", "input": "c", "output": "a long way", "answer": "4"},
        {"instruction": "query", "input": "input", "output": "response", "answer": "unused"},
    ),
    "a text and its summary": (
        "sft", {"text": "long", "summary": "short"}, {"text": "query", "summary": "response"},
    ),
    "a translation": (
        "sft", {"source": "hello", "target": "bonjour"}, {"source": "query", "target": "response"},
    ),
    "a pair with an input": (
        "dpo",
        {"instruction": "q", "input": "c", "chosen_text": "a", "rejected_text": "b"},
        {"instruction": "query", "input": "input", "chosen_text": "chosen",
         "rejected_text": "rejected"},
    ),
    "a prompt": ("grpo", {"user_query": "q", "level": 3}, {"user_query": "query"}),
    "a text for pretraining": ("pt", {"raw_text": "long", "title": "t"}, {"raw_text": "text"}),
    "a labelled answer": (
        "kto",
        {"question": "q", "Antwort": "a", "label": True},
        {"question": "query", "Antwort": "response"},
    ),
    "two columns of another language": (
        "sft", {"Frage": "q", "Antwort": "a"}, {"Frage": "query", "Antwort": "response"},
    ),
    "a pair": (
        "dpo",
        {"frage": "q", "good_answer": "a", "bad_answer": "b"},
        {"frage": "query", "good_answer": "chosen", "bad_answer": "rejected"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROPOSALS)
def test_the_proposal_for_unclear_columns_is_right_and_can_be_read(
    name: str, tmp_path: Path
) -> None:
    stage, row, expected = PROPOSALS[name]
    assert likely_targets([row], stage) == expected
    with pytest.raises(RowError) as caught:
        read_row(row, stage)
    assert caught.value.kind == "columns"
    assert "(columns: {" in caught.value.en
    examples(write(tmp_path / "a.jsonl", row), stage, **expected)


NO_PROPOSALS: dict[str, dict[str, Any]] = {
    "three unknown texts": {"foo": "x", "bar": "y", "baz": "z"},
    "two sentences and their label": {"premise": "p", "hypothesis": "h", "label": 1},
    "a title and a body": {"title": "t", "body": "b", "accepted_answer": "a"},
    "numbers": {"foo": 1, "bar": 2},
    "choices in a list": {"question": "q", "choices": ["a", "b"], "answer": "a"},
    "a translation": {"translation": {"de": "a", "en": "b"}},
    "answers of an object": {"question": "q", "context": "c", "answers": {"text": ["a"]}},
    "ids": {"prompt_id": "x", "answer_id": "y", "topic": "z"},
    "nothing": {},
}


@pytest.mark.parametrize("name", NO_PROPOSALS)
def test_nothing_is_proposed_where_nothing_is_clear(name: str) -> None:
    row = NO_PROPOSALS[name]
    assert likely_targets([row], "sft") == {}
    with pytest.raises(RowError) as caught:
        read_row(row, "sft")
    assert not re.search(r"columns: \{\w+: (query|response)\}", caught.value.en.split(" (say")[0])


def test_an_unknown_set_is_shown_with_two_values_of_each_column(tmp_path: Path) -> None:
    rows = [
        {"Question": f"question {number}", "Complex_CoT": "so\nlong " * 30, "Response": "a"}
        for number in range(5)
    ]
    with pytest.raises(DataError) as caught:
        check_rows(source(write(tmp_path / "a.jsonl", *rows)), stage="sft", max_bad_rows=0)
    first, *values, more, summary = caught.value.message.splitlines()
    assert first.startswith("a.jsonl:1 it is not clear which column is the question")
    assert values[0] == "  Question: question 0 | question 1"
    assert values[1].startswith("  Complex_CoT: so long so long")
    assert max(map(len, values)) < 110
    assert (more, summary) == (
        "  and 4 more rows with these columns",
        "5 of 5 rows are bad (1 kind)",
    )
    proposal = "columns: {Question: query, Complex_CoT: reasoning_content, Response: response}"
    assert proposal in caught.value.hint
    assert "max_bad_rows" not in caught.value.hint
    assert "completion" not in caught.value.message + caught.value.hint


def test_a_set_without_a_proposal_names_what_columns_can_be(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"foo": "x", "bar": "y", "baz": "z"})
    with pytest.raises(DataError, match="no known format in: bar, baz, foo") as caught:
        check_rows(source(path), stage="sft", max_bad_rows=0)
    assert "query, response" in caught.value.hint


def test_rows_of_control_characters_are_shown_printable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"a\x1b[2J": "x\x1b[31m", "b": "y", "c": "z"})
    with pytest.raises(DataError) as caught:
        check_rows(source(path), stage="sft", max_bad_rows=0)
    assert "\x1b" not in caught.value.message + caught.value.hint


def test_a_proposal_is_valid_yaml_whatever_the_names() -> None:
    names = [
        "yes",
        "a: b",
        'say "x"',
        "1",
        "问题",
        "x\x1b[2J",
        " lead",
        "a-b",
        "on",
        "Q&A",
        "#",
        "a b",
    ]
    targets = dict.fromkeys(names, "query")
    line = as_columns(targets)
    assert yaml.safe_load(f"columns: {line}")["columns"] == targets
    assert line.isprintable()


def test_a_row_of_very_many_columns_is_reported_briefly() -> None:
    with pytest.raises(RowError) as caught:
        read_row({f"{'x' * 500}{number}": number for number in range(5000)}, "sft")
    assert len(caught.value.en) < 5000


def test_skipping_every_row_is_never_the_cure(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", {"query": "", "response": "a"}, {"query": "", "response": ""}
    )
    with pytest.raises(DataError) as caught:
        check_rows(source(path), stage="sft", max_bad_rows=0)
    assert "max_bad_rows" not in caught.value.hint


@pytest.mark.parametrize("stage", ["sft", "pt", "dpo", "kto", "reward", "grpo"])
def test_every_stage_names_what_a_column_can_be(stage: str) -> None:
    targets = column_targets(stage)
    assert len(set(targets)) == len(targets)
    assert targets[-1] == "unused"


def test_the_targets_of_answers_begin_with_the_usual_names() -> None:
    assert {"query", "response", "system", "input", "reasoning_content"} <= set(
        column_targets("sft")
    )
