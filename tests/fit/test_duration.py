"""How long a training takes, estimated from its rows and the speed of the device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftbox.cli.main import main
from swiftbox.data.example import Example, Turn
from swiftbox.data.lengths import BYTES_PER_TOKEN, TOKENS_PER_TURN, Lengths
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.fit.duration import approximate, training_duration
from swiftbox.fit.speed import Speed
from swiftbox.methods.grpo import GrpoConfig
from swiftbox.plan import plan
from swiftbox.tasks.load import loads


def settled(*overrides: str) -> Any:
    usual = ["model=owner/model-1b", "dataset=owner/rows", "report_to=none", "val_size=0"]
    loaded = loads("", source="test", overrides=[*usual, *overrides])
    return plan(loaded.config, hypothetical_machine("cuda:24")).config


def rows(count: int, tokens: int) -> Lengths:
    """Return rows of one turn each, of so many tokens."""
    lengths = Lengths(taken=count)
    sentence = "x" * round((tokens - TOKENS_PER_TURN) * BYTES_PER_TOKEN)
    for _ in range(count):
        lengths.add(Example((Turn("user", sentence),)))
    return lengths


def seconds(config: Any, lengths: Lengths, kind: str = "adapter") -> float:
    estimated = training_duration(config, lengths, Speed(1000.0, 2.0), kind, 1)
    assert estimated is not None
    return estimated.seconds


def test_tokens_over_speed_are_seconds() -> None:
    assert seconds(settled("num_train_epochs=1"), rows(100, 500)) == pytest.approx(50, rel=0.01)
    assert seconds(settled("num_train_epochs=3"), rows(100, 500)) == pytest.approx(150, rel=0.01)


def test_no_row_is_longer_than_the_longest_that_is_trained_on() -> None:
    capped = settled("num_train_epochs=1", "max_length=200")
    assert seconds(capped, rows(100, 500)) == pytest.approx(20, rel=0.01)


def test_max_steps_count_batches() -> None:
    few = settled("max_steps=10", "per_device_train_batch_size=2", "gradient_accumulation_steps=4")
    assert seconds(few, rows(1000, 100)) == pytest.approx(8.0, rel=0.01)


def test_a_reference_costs_a_forward_pass_more() -> None:
    plain, dpo = settled("num_train_epochs=1"), settled("stage=dpo", "num_train_epochs=1")
    dpo = dpo.model_copy(update={"precompute_ref_log_probs": "false"})
    assert seconds(dpo, rows(10, 99)) == pytest.approx(1.5 * seconds(plain, rows(10, 99)))
    assert seconds(dpo, rows(10, 99), "full") == pytest.approx(4 / 3 * seconds(plain, rows(10, 99)))


def test_held_out_and_unused_rows_are_not_counted_as_training() -> None:
    half = rows(100, 500)
    half.taken = 50
    assert seconds(settled("num_train_epochs=1"), half) == pytest.approx(25, rel=0.01)
    with_validation = settled("num_train_epochs=1", "val_size=0.2")
    assert seconds(with_validation, rows(100, 500)) == pytest.approx(40, rel=0.01)


def test_answers_that_are_still_to_be_generated_have_no_time() -> None:
    online = GrpoConfig(
        task="train", stage="grpo", model="o/m-1b", dataset="a.jsonl", reward_funcs="a"
    )
    assert training_duration(online, rows(9, 99), Speed(1000.0, 2.0), "adapter", 1) is None


@pytest.mark.parametrize(
    "sentence", ["The json module encodes Python objects.", "模型训练需要数据。"]
)
def test_tokens_are_estimated_from_bytes_in_both_languages(sentence: str) -> None:
    estimated = Lengths(taken=1)
    estimated.add(Example(text=sentence * 50))
    letters = len(sentence) * 50
    low, high = (letters / 6, letters / 3) if sentence.isascii() else (letters / 2.2, letters / 1.1)
    assert low < estimated.tokens(None) < high


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.2, "0.2 s"),
        (80, "1 min 20 s"),
        (731, "12 min"),
        (7800, "2 h 10 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_an_estimated_time_has_no_false_precision(seconds: float, written: str) -> None:
    assert approximate(seconds) == written


def test_check_says_how_long_it_takes(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import write_chats, write_config

    config = write_config(tmp_path / "a.yaml", tiny, write_chats(tmp_path / "chat.jsonl", 20))
    assert main(["check", str(config)]) == 0
    assert "time: about " in capsys.readouterr().out
    assert main(["check", str(config), "--json"]) == 0
    fit = json.loads(capsys.readouterr().out)["fit"]
    assert fit["tokens"] > 0
    assert fit["seconds"] >= 0
