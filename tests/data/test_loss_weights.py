"""Turns that are not learned, or count more or less in the loss, as datasets write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from row_files import write

from swiftbox.data.check import check_rows
from swiftbox.data.example import NOTHING_TO_LEARN, RowError
from swiftbox.data.formats import read_row
from swiftbox.data.source import RowSource
from swiftbox.errors import DataError

Q = {"role": "user", "content": "q"}
A = {"role": "assistant", "content": "a"}


def weights(*turns: dict[str, Any]) -> list[float]:
    """Return the weights of the assistant turns of a conversation that ends with a learned one."""
    example = read_row({"messages": [*turns, Q, A]}, "sft")[1]
    return [turn.weight for turn in example.messages if turn.role == "assistant"]


@pytest.mark.parametrize(
    ("keys", "weight"),
    [
        ({"weight": 0}, 0),
        ({"weight": 1}, 1),
        ({"weight": None}, 1),
        ({"loss": False}, 0),
        ({"loss": True}, 1),
        ({"train": False}, 0),
        ({"training": "false"}, 0),
        ({"loss_mask": 0}, 0),
        ({"mask": 0}, 0),
        ({"masked": True}, 0),
        ({"masked": False}, 1),
        ({"loss_scale": 2.0}, 2),
        ({"loss_weight": 0.0}, 0),
        ({"loss_scale": "0.5"}, 0.5),
        ({"loss": True, "loss_scale": 3}, 3),
        ({"loss": False, "loss_scale": 3}, 0),
    ],
)
def test_a_turn_has_the_weight_that_its_keys_say(keys: dict[str, Any], weight: float) -> None:
    assert weights(Q, {**A, **keys}) == [weight, 1]


def test_a_tool_call_may_be_excluded() -> None:
    call = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}', "loss": False}
    assert weights(Q, call, {"role": "tool_response", "content": "r"}, A) == [0, 1, 1]


def test_a_weight_of_a_user_is_named_as_not_used() -> None:
    turns = [{**Q, "train": True, "loss_mask": 0}, {**A, "train": True}]
    example = read_row({"messages": turns}, "sft")[1]
    assert example.unused == ("messages[].train (user)",)
    pair = [{"speaker": "human", "text": "q", "weight": 2}, {"speaker": "ai", "text": "a"}]
    example = read_row({"conversations": pair}, "sft")[1]
    assert example.unused == ("conversations[].weight (user)",)


@pytest.mark.parametrize(
    "keys",
    [
        {"weight": -1},
        {"loss": "maybe"},
        {"loss_scale": [1, 2]},
        {"mask": float("nan")},
        {"train": {}},
    ],
)
def test_a_weight_that_says_nothing_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(RowError, match="should be true, false or a number of at least 0"):
        weights(Q, {**A, **keys})


def test_parts_of_a_turn_that_are_excluded_are_refused() -> None:
    detail = [{"begin_offset": 0, "end_offset": 1, "train": False}]
    with pytest.raises(RowError, match="train_detail excludes parts of a turn"):
        weights(Q, {**A, "train_detail": detail})


def test_the_weights_of_a_prompt_do_not_make_it_another_prompt() -> None:
    earlier = [Q, A, Q]
    weighted = [Q, {**A, "weight": 0}, Q]
    row = {"prompt": earlier, "chosen": [*weighted, A], "rejected": [{**A, "content": "b"}]}
    assert len(read_row(row, "dpo")[1].rejected) == 4


def test_a_pair_whose_answer_is_not_learned_has_nothing_to_learn() -> None:
    row = {"prompt": [Q], "chosen": [{**A, "weight": 0}], "rejected": [{**A, "content": "b"}]}
    with pytest.raises(RowError) as caught:
        read_row(row, "dpo")
    assert caught.value.kind == NOTHING_TO_LEARN


def test_a_row_with_nothing_to_learn_is_named_by_its_kind() -> None:
    with pytest.raises(RowError) as caught:
        read_row({"messages": [Q, {**A, "weight": 0}]}, "sft")
    assert caught.value.kind == NOTHING_TO_LEARN


def test_rows_with_nothing_to_learn_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [{"messages": [Q, A]}, {"messages": [Q, {**A, "loss": False}]}]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    checked = check_rows([RowSource(str(path))], stage="sft", max_bad_rows=0)
    assert (checked.rows, len(checked.unlearned), checked.bad) == (1, 1, [])
    assert "1 row with nothing to learn skipped (first: a.jsonl:2)" in checked.summary()


def test_a_set_with_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"messages": [Q, {**A, "weight": 0}]}))
    with pytest.raises(DataError, match=r"the only row has nothing to learn: a\.jsonl:1"):
        check_rows([RowSource(str(path))], stage="sft", max_bad_rows=0)


@pytest.mark.parametrize("mask", [[0, 0, 0, 1], [0, 1], [False, True]])
@pytest.mark.parametrize("column", ["loss_mask", "loss", "mask"])
def test_a_column_gives_the_weights_of_all_turns_or_of_all_answers(
    column: str, mask: list[Any]
) -> None:
    example = read_row({"messages": [Q, A, Q, A], column: mask}, "sft")[1]
    assert [turn.weight for turn in example.messages] == [1, 0, 1, 1]
    assert example.unused == ()


def test_a_column_of_weights_for_other_turns_is_a_bad_row() -> None:
    with pytest.raises(RowError, match="2 turns or 1 answers"):
        read_row({"messages": [Q, A], "loss_mask": [0, 1, 1]}, "sft")


def test_a_number_in_the_column_loss_is_not_a_weight() -> None:
    example = read_row({"messages": [Q, A], "loss": 0.25}, "sft")[1]
    assert (example.messages[1].weight, example.unused) == (1, ("loss",))


@pytest.mark.parametrize("turn", [{"input": "q", "output": "a"}, {"human": "q", "assistant": "a"}])
def test_a_column_gives_the_weights_of_pairs(turn: dict[str, str]) -> None:
    example = read_row({"conversation": [turn, turn], "loss_mask": [0, 1]}, "sft")[1]
    assert [message.weight for message in example.messages] == [1, 0, 1, 1]


def test_a_column_that_weighs_turns_of_the_user_is_named_as_not_used() -> None:
    example = read_row({"messages": [Q, A, Q, A], "loss_mask": [1, 0, 0, 1]}, "sft")[1]
    assert example.unused == ("messages[].loss_mask (user)",)
