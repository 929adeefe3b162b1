"""Every dataset of the catalogue whose columns are known is read as it is on the hub."""

from __future__ import annotations

from typing import Any

import pytest

from swiftbox.data.example import Example
from swiftbox.data.formats import read_row
from swiftbox.data.registry import rename_columns
from swiftbox.models import catalogue

Row = dict[str, Any]


def share(question: str, answer: str, **further: Any) -> list[Row]:
    return [
        {"from": "human", "value": question, **further},
        {"from": "gpt", "value": answer, **further},
    ]


def chat(question: str, answer: str) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


DIALOG = "\n\nHuman: Why?\n\nAssistant: "
CALLS = '[{"name": "weather", "arguments": {"city": "Bonn"}}]'
TOOLS = '[{"name": "weather", "description": "d", "parameters": {"city": {"type": "str"}}}]'
ALPACA = {"instruction": "Why?", "input": "", "output": "Because."}

ROWS: dict[str, Row] = {
    "alpaca": ALPACA,
    "alpaca with text": {**ALPACA, "text": "Why? Because."},
    "alpaca with file": {**ALPACA, "file": "a.pdf"},
    "platypus": {**ALPACA, "data_source": "x"},
    "math-instruct": {"source": "x", "output": "Because.", "instruction": "Why?"},
    "coig-cqia": {
        **ALPACA,
        "task_type": {"major": ["x"], "minor": []},
        "domain": ["x"],
        "metadata": "m",
        "answer_from": "human",
        "human_verified": True,
        "copyright": "c",
    },
    "chinese-r1-distill": {
        **ALPACA,
        "output": "<think>t</think>Because.",
        "repo_name": "r",
        "prompt_tokens_len": 3,
        "reasoning_content_len": 1,
        "content_len": 1,
        "score": 10,
    },
    "instruction-output": {"instruction": "Why?", "output": "Because."},
    "dolphin": {"instruction": "Be brief.", "input": "Why?", "output": "Because."},
    "open-orca": {"id": "1", "system_prompt": "s", "question": "Why?", "response": "Because."},
    "dolly": {
        "instruction": "Why?",
        "context": "It rains.",
        "response": "Because.",
        "category": "qa",
    },
    "firefly": {"kind": "NLI", "input": "Why?", "target": "Because."},
    "advertise-gen": {"content": "Why?", "summary": "Because."},
    "input-output": {"input": "Why?", "output": "Because."},
    "disc-law": {"id": "1", "input": "Why?", "output": "Because."},
    "disc-med": {"_id": "1", "source": "x", "conversation": chat("Why?", "Because.")},
    "lmsys-chat": {
        "conversation_id": "1",
        "model": "m",
        "conversation": chat("Why?", "Because."),
        "turn": 1,
        "language": "English",
        "openai_moderation": [{"flagged": False}],
        "redacted": False,
    },
    "sharegpt": {"conversations": share("Why?", "Because.")},
    "sharegpt with weights": {"conversations": share("Why?", "Because.", weight=1)},
    "sharegpt with id": {"id": "1", "conversations": share("Why?", "Because.")},
    "agent-instruct": {"conversations": share("Why?", "Because.", loss=None), "id": "os_1"},
    "infinity-instruct": {
        "id": 1,
        "conversations": share("Why?", "Because."),
        "label": {"ability_en": ["x"], "cate_ability_en": ["y"]},
        "langdetect": "en",
        "source": "x",
    },
    "magpie": {
        "uuid": "1",
        "instruction": "Why?",
        "response": "Because.",
        "conversations": share("Why?", "Because."),
    },
    "open-hermes": {
        "conversations": share("Why?", "Because."),
        "source": "x",
        "category": None,
        "system_prompt": None,
        "idx": None,
    },
    "tagengo": {
        "conversation_id": "1",
        "conversations": share("Why?", "Because."),
        "language": "English",
        "response": ["Because.", "stop"],
    },
    "system and conversations": {
        "system": "s",
        "conversations": [
            {"from": "user", "value": "Why?"},
            {"from": "assistant", "value": "Because."},
        ],
    },
    "messages": {"messages": chat("Why?", "Because.")},
    "numina-cot": {
        "source": "x",
        "problem": "Why?",
        "solution": "Because.",
        "messages": chat("Why?", "Because."),
    },
    "numina-tir": {
        "problem": "Why?",
        "solution": "Because.",
        "messages": chat("Why?", "Because."),
    },
    "numina-1.5": {
        "problem": "Why?",
        "solution": "Because.",
        "answer": "B",
        "problem_type": "Algebra",
        "question_type": "MCQ",
        "problem_is_valid": "Yes",
        "solution_is_valid": "Yes",
        "source": "x",
        "synthetic": False,
    },
    "math-lighteval": {"problem": "Why?", "level": "1", "type": "x", "solution": "Because."},
    "tulu": {"dataset": "x", "id": "1", "messages": chat("Why?", "Because.")},
    "ultrachat": {"prompt": "Why?", "prompt_id": "1", "messages": chat("Why?", "Because.")},
    "no-robots": {
        "prompt": "Why?",
        "prompt_id": "1",
        "messages": chat("Why?", "Because."),
        "category": "qa",
    },
    "chat-rounds": {
        "id": 1,
        "chat_rounds": [
            {"role": "human", "content": "Why?"},
            {"role": "bot", "content": "Because."},
        ],
    },
    "question-answer": {"question": "Why?", "answer": "Because."},
    "web-instruct": {
        "orig_question": "why",
        "orig_answer": "bc",
        "question": "Why?",
        "answer": "Because.",
        "source": "x",
        "index": 1,
    },
    "prompt-response": {"prompt": "Why?", "response": "Because."},
    "query-response": {"query": "Why?", "response": "Because.", "tag": "en"},
    "blossom-math": {"query": "Why?", "output": "Because.", "answer": "B"},
    "medical-o1": {"Question": "Why?", "Complex_CoT": "t", "Response": "Because."},
    "zhihu-kol": {"INSTRUCTION": "Why?", "RESPONSE": "Because.", "SOURCE": "x", "METADATA": "{}"},
    "sql-create-context": {"answer": "Because.", "question": "Why?", "context": "CREATE TABLE t"},
    "text-to-sql": {
        "id": 1,
        "domain": "x",
        "domain_description": "x",
        "sql_complexity": "x",
        "sql_complexity_description": "x",
        "sql_task_type": "x",
        "sql_task_type_description": "x",
        "sql_prompt": "Why?",
        "sql_context": "CREATE TABLE t",
        "sql": "Because.",
        "sql_explanation": "x",
    },
    "cosmopedia": {
        "prompt": "Why?",
        "text": "Because.",
        "text_token_length": 1,
        "seed_data": "x",
        "format": "x",
        "audience": "x",
    },
    "aya": {
        "id": 1,
        "inputs": "Why?",
        "targets": "Because.",
        "dataset_name": "x",
        "sub_dataset_name": "x",
        "task_type": "x",
        "template_id": 1,
        "language": "x",
        "script": "Latn",
        "split": "train",
    },
    "xlam": {"id": 1, "query": "Why?", "answers": CALLS, "tools": TOOLS},
    "dapo-math": {
        "prompt": "Why?",
        "solution": "3",
        "data_source": "x",
        "source_prompt": [{"role": "user", "content": "Why?"}],
        "ability": "MATH",
        "reward_model": {"ground_truth": "3"},
        "extra_info": {"index": "1"},
    },
    "coding-problems": {
        "source": "x",
        "task_type": "x",
        "in_source_id": "1",
        "prompt": "Why?",
        "gold_standard_solution": "s",
        "verification_info": "{}",
        "metadata": "{}",
        "problem_id": "1",
    },
    "transcript pairs": {"chosen": DIALOG + "Because.", "rejected": DIALOG + "No."},
    "orpo-mix": {
        "source": "x",
        "chosen": chat("Why?", "Because."),
        "rejected": chat("Why?", "No."),
        "prompt": "Why?",
        "question": "Why?",
    },
    "stack-exchange": {
        "qid": 1,
        "question": "Why?",
        "date": "2020/01/01",
        "metadata": ["u"],
        "response_j": "Because.",
        "response_k": "No.",
    },
    "instruction pairs": {"instruction": "Why?", "chosen": "Because.", "rejected": "No."},
    "prompt pairs": {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
    "orca pairs": {"system": "", "question": "Why?", "chosen": "Because.", "rejected": "No."},
    "emoji pairs": {"question": "Why?", "answer_zh": "Because.", "answer_en": "No."},
    "hh-rlhf-cn": {
        "context": [{"role": "human", "text": "Why?"}],
        "chosen": {"role": "assistant", "text": "Because."},
        "rejected": {"role": "assistant", "text": "No."},
    },
    "labelled answers": {"prompt": "Why?", "completion": "Because.", "label": True},
    "text": {"text": "Because."},
    "text with meta": {"text": "Because.", "meta": {"set": "x"}},
    "text with url": {"text": "Because.", "timestamp": "t", "url": "u"},
    "fineweb": {
        "text": "Because.",
        "id": "1",
        "dump": "x",
        "url": "u",
        "file_path": "s3",
        "language": "en",
        "language_score": 0.9,
        "token_count": 2,
    },
    "wikipedia": {"id": "1", "url": "u", "title": "t", "text": "Because."},
    "dolma": {"id": "1", "text": "Because.", "added": "t", "created": "t", "source": "x"},
    "completion": {"completion": "Because.", "source": "x"},
    "content": {"content": "Because."},
    "raw_content": {
        "raw_content": "Because.",
        "doc_id": "1",
        "meta": "{}",
        "quality_signals": "{}",
    },
    "code": {
        "code": "Because.",
        "repo_name": "x",
        "path": "x",
        "language": "x",
        "license": "x",
        "size": 1,
    },
}
"""A row in the shape of each set, written for this test."""


def answer_of(example: Example) -> str:
    if example.text is not None:
        return example.text
    last = example.messages[-1]
    return last.content or str(last.tool_calls)


@pytest.mark.parametrize(
    ("name", "stage"),
    [(name, stage) for name, shape in catalogue.dataset_shapes().items() for stage in shape.stages],
)
def test_a_row_of_each_shape_is_read_at_each_of_its_stages(name: str, stage: str) -> None:
    shape = catalogue.dataset_shapes()[name]
    row = ROWS[name]
    assert set(row) == set(shape.columns)
    _, example = read_row(rename_columns(row, shape.rename), stage)
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
    row = rename_columns(ROWS[name], catalogue.dataset_shapes()[name].rename)
    _, example = read_row(row, "sft")
    assert next(turn.content for turn in example.messages if turn.role == role) == content


def test_the_thoughts_of_a_medical_row_are_thoughts() -> None:
    row = rename_columns(ROWS["medical-o1"], catalogue.dataset_shapes()["medical-o1"].rename)
    _, example = read_row(row, "sft")
    assert dict(example.messages[-1].extra) == {"reasoning_content": "t"}


def test_datasets_name_shapes_that_exist_and_every_shape_is_used() -> None:
    named = {row.shape for row in catalogue.datasets() if row.shape}
    assert named == set(catalogue.dataset_shapes()) == set(ROWS)


def test_most_sets_of_text_have_a_shape() -> None:
    texts = [row for row in catalogue.datasets() if row.modality in (None, "text")]
    assert sum(row.shape is not None for row in texts) >= 100
