"""Answers with a label in every way they are written, and margins of pairs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, examples, turns, write

from swiftbox.data.example import Example
from swiftbox.data.formats import read_row

S = {"role": "system", "content": "s"}
HUMAN, GOOD = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
ANSWERED = [("user", "q"), ("assistant", "a")]
EARLIER = [("user", "h"), ("assistant", "r")]
TURNS = [{"role": role, "content": content} for role, content in EARLIER]
SYSTEM = [("system", "s")]

Told = list[tuple[str, str]]


def read(row: dict[str, Any], stage: str) -> Example:
    return read_row(row, stage)[1]


WITH_MARGIN: dict[str, tuple[dict[str, Any], float | None]] = {
    "margin": ({"margin": 2}, 2.0),
    "a text": ({"margin": "1.5"}, 1.5),
    "scores": ({"chosen_score": 3, "rejected_score": 2.5}, 0.5),
    "scores of another order": ({"score_chosen": 3, "score_rejected": 3}, 0.0),
    "margin over scores": ({"margin": 1, "chosen_score": 9, "rejected_score": 2}, 1.0),
    "null": ({"margin": None}, None),
    "half of the scores": ({"chosen_score": 3, "rejected_score": None}, None),
}


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_a_margin_is_for_reward_models_only(name: str) -> None:
    columns, expected = WITH_MARGIN[name]
    row = {"prompt": "q", "chosen": "a", "rejected": "b", **columns}
    assert read(row, "reward").margin == expected
    assert read(row, "dpo").margin is None


LABELLED: dict[str, tuple[dict[str, Any], Told]] = {
    "messages": ({"messages": [S, Q, A]}, SYSTEM),
    "conversations": ({"conversations": [HUMAN, GOOD]}, []),
    "prompt and completion": ({"prompt": "q", "completion": "a"}, []),
    "lists of prompt and completion": ({"prompt": [*TURNS, Q], "completion": [A]}, EARLIER),
    "query and response": ({"query": "q", "response": "a", "history": [["h", "r"]]}, EARLIER),
    "instruction and output": ({"instruction": "q", "output": "a"}, []),
}
LABELS = [(True, True), (False, False), (1, True), (0, False), ("true", True), ("False", False)]


@pytest.mark.parametrize("key", ["label", "kto_tag"])
@pytest.mark.parametrize("name", LABELLED)
def test_every_way_to_write_a_labelled_answer_loads(name: str, key: str, tmp_path: Path) -> None:
    row, before = LABELLED[name]
    path = write(tmp_path / "a.jsonl", *({**row, key: label} for label, _ in LABELS))
    loaded = examples(path, "kto")
    assert [turns(example) for example in loaded] == [before + ANSWERED] * len(LABELS)
    assert [example.label for example in loaded] == [expected for _, expected in LABELS]


def test_pairs_and_labels_are_read_from_csv(tmp_path: Path) -> None:
    header = ("prompt", "completion", "label", "chosen", "rejected", "margin")
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, ("q", "a", "true", "[1] a", "b", "0.5")])
    # chosen and rejected stand before prompt and completion: the file holds pairs.
    (pair,) = examples(tmp_path / "a.csv", "reward")
    assert (pair.messages[-1].content, pair.margin) == ("[1] a", 0.5)
    with (tmp_path / "b.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header[:3], ("q", "a", "true")])
    (judged,) = examples(tmp_path / "b.csv", "kto")
    assert judged.label is True


def test_the_kto_tag_of_dataset_info_is_a_label(tmp_path: Path) -> None:
    columns = {"messages": "talk", "kto_tag": "fine"}
    info = {"mine": {"file_name": "a.jsonl", "columns": columns, "formatting": "sharegpt"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    path = write(tmp_path / "a.jsonl", {"talk": [HUMAN, GOOD], "fine": False})
    (example,) = examples(path, "kto")
    assert example.label is False


def test_a_label_of_another_meaning_does_not_prevent_sft() -> None:
    for label in ("sports", 3, None):
        assert turns(read({"messages": [Q, A], "label": label}, "sft")) == ANSWERED
