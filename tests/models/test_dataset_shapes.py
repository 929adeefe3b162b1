"""Every dataset of the catalogue is read as it is on the hub, or refused with a reason."""

from __future__ import annotations

import pytest
from dataset_rows import ROWS

from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import CLASSIFIED, read_row
from swiftbox.data.registry import rename_columns
from swiftbox.models import catalogue
from swiftbox.models.catalogue import Dataset
from swiftbox.models.dataset_columns import (
    UNKNOWN,
    all_known_columns,
    dataset_shapes,
    known_columns,
    reason_of,
)


def answer_of(example: Example) -> str:
    if example.text is not None:
        return example.text
    last = example.messages[-1]
    return last.content or str(last.tool_calls)


@pytest.mark.parametrize(
    ("name", "stage"),
    [(name, stage) for name, shape in dataset_shapes().items() for stage in shape.stages],
)
def test_a_row_of_each_shape_is_read_at_each_of_its_stages(name: str, stage: str) -> None:
    shape = dataset_shapes()[name]
    row = ROWS[name]
    assert set(row) == set(shape.columns)
    _, example = read_row(rename_columns(row, shape.rename), stage)
    if stage in CLASSIFIED:
        assert "Why?" in str(example.text)
        assert example.target is not None
        return
    prompt = " ".join(turn.content for turn in example.messages)
    if stage != "pt":
        assert "Why?" in prompt
    if stage == "grpo":
        return
    assert "Bonn" in answer_of(example) if name == "xlam" else "Because." in answer_of(example)
    if example.rejected:
        assert example.rejected[-1].content == "No."


@pytest.mark.parametrize(
    ("name", "role", "content"),
    [
        ("dolphin", "system", "Be brief."),
        ("open-orca", "system", "s"),
        ("dolly", "user", "Why?\nIt rains."),
        ("sql-create-context", "user", "Why?\nCREATE TABLE t"),
    ],
)
def test_the_parts_of_a_prompt_get_their_roles(name: str, role: str, content: str) -> None:
    row = rename_columns(ROWS[name], dataset_shapes()[name].rename)
    _, example = read_row(row, "sft")
    assert next(turn.content for turn in example.messages if turn.role == role) == content


def test_the_thoughts_of_a_medical_row_are_thoughts() -> None:
    row = rename_columns(ROWS["medical-o1"], dataset_shapes()["medical-o1"].rename)
    _, example = read_row(row, "sft")
    assert dict(example.messages[-1].extra) == {"reasoning_content": "t"}


def texts() -> list[Dataset]:
    return [row for row in catalogue.datasets() if row.modality in (None, "text")]


def test_datasets_name_shapes_that_exist_and_every_shape_is_used() -> None:
    known = all_known_columns().values()
    subsets = [name for columns in known for name in (columns.subsets or {}).values()]
    named = {columns.shape for columns in known if columns.shape}.union(subsets)
    assert named == set(dataset_shapes()) == set(ROWS)


def test_every_set_of_text_has_a_shape_or_a_reason() -> None:
    assert set(all_known_columns()) == {row.name for row in texts()}
    for row in texts():
        known = known_columns(row)
        assert known.shape or known.subsets or known.unread == UNKNOWN, row.name
        assert (known.source is None) == (known.unread == UNKNOWN), row.name
        assert bool(known.unread) == bool(reason_of(known))


def test_only_shapes_that_no_stage_reads_have_a_reason() -> None:
    for known in all_known_columns().values():
        for name in {known.shape, *(known.subsets or {}).values()} - {None}:
            assert bool(dataset_shapes()[str(name)].stages) == (known.unread is None)


def test_subsets_and_sources_are_those_of_the_catalogue() -> None:
    for row in texts():
        known = known_columns(row)
        assert set(known.subsets or ()) <= set(row.subsets)
        assert known.source in (None, "card", "registration", "code", "knowledge")


@pytest.mark.parametrize(
    "name", [name for name, shape in dataset_shapes().items() if not shape.stages]
)
def test_rows_that_no_stage_learns_are_refused(name: str) -> None:
    for stage in ("sft", "dpo", "kto", "pt"):
        with pytest.raises(RowError):
            read_row(ROWS[name], stage)


def test_either_kind_of_answers_is_read_where_the_config_names_it() -> None:
    row = ROWS["two kinds of answers"]
    chosen = {"chatgpt_answers": "response", "human_answers": "unused"}
    _, example = read_row(rename_columns(row, chosen), "sft")
    assert example.messages[-1].content == "Because."
    chosen = {"human_answers": "response", "chatgpt_answers": "unused"}
    with pytest.raises(RowError, match="a choice of answers"):
        read_row(rename_columns(row, chosen), "sft")


def test_calls_tools_and_history_of_a_row_are_read() -> None:
    shape = dataset_shapes()["function-calling-chatml"]
    _, example = read_row(rename_columns(ROWS["function-calling-chatml"], shape.rename), "sft")
    assert [tool["function"]["name"] for tool in example.tools] == ["weather", "news"]
    assert [turn.role for turn in example.messages] == ["user", "assistant", "tool", "assistant"]
    _, example = read_row(ROWS["instruction-output with history"], "sft")
    assert [turn.content for turn in example.messages] == ["q", "a", "Why?", "Because."]


def test_turns_before_the_question_are_turns() -> None:
    _, example = read_row(ROWS["guanaco"], "sft")
    assert [(turn.role, turn.content) for turn in example.messages] == [
        ("user", "Hi."),
        ("assistant", "Hello.\nNice to meet you."),
        ("user", "Why?"),
        ("assistant", "Because."),
    ]


@pytest.mark.parametrize(
    ("past", "question"),
    [
        ("Classify the talk.", "User: Hi.\nAssistant: Hello."),
        ("User reviews follow: classify each.", "User: Hi."),
        ("", "User: Hi.\nAssistant: Hello."),
        ("User: Hi.", "User: Why?"),
        ("", "Users of it"),
    ],
)
def test_other_texts_of_speakers_stay_a_question(past: str, question: str) -> None:
    _, example = read_row({"instruction": past, "input": question, "output": "a"}, "sft")
    assert example.messages[0].content == f"{past}\n{question}".strip()
