"""The view of a run: plain lines, and the live display at two widths."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from swiftbox.display.lines import lines_of
from swiftbox.display.live import View
from swiftbox.display.train import sparkline


def step(number: int, **more: Any) -> dict[str, Any]:
    return {
        "event": "step",
        "step": number,
        "total_steps": 20,
        "epoch": number / 10,
        "loss": 3.0 - number / 10,
        "learning_rate": 1e-4,
        "grad_norm": 1.5,
        "tokens_per_s": 1234.5,
        "memory_bytes": 2**31,
        "eta_s": 75,
        **more,
    }


EVENTS = [
    {"event": "stage", "name": "model", "detail": "m"},
    {"event": "start", "total_steps": 20},
    *(step(number) for number in range(1, 12)),
    {"event": "checkpoint", "step": 10, "path": "x"},
    {"event": "eval", "step": 10, "loss": 2.5},
    {"event": "warning", "message": "mind this"},
]


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    with View("train", stream=stream) as view:
        for event in EVENTS:
            view.event(event)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "> loading the model: m",
        "  step 1/20  loss 2.9000  1,234 tokens/s  1:15 left",
        "  saved checkpoint-10",
        "  step 10  held-out loss 2.5000",
        "! mind this",
    ]


@pytest.mark.parametrize("width", [80, 50])
def test_the_live_display_fits_its_terminal(width: int) -> None:
    view = View("train", plain=True, stream=io.StringIO())
    for event in EVENTS:
        view.event(event)
    console = Console(width=width, file=io.StringIO(), no_color=True)
    console.print(view.panel(width))
    shown = console.file.getvalue()
    assert all(len(line) <= width for line in shown.splitlines())
    for word in ("11/20", "1.9000", "1.00e-04", "1,234", "checkpoint-10", "2.0 GiB"):
        assert word in shown, word


def test_a_failure_shows_its_traceback_its_message_and_a_hint() -> None:
    trace = "\n".join(["Traceback (most recent call last):", *(f"  line {n}" for n in range(40))])
    event = {"event": "failed", "kind": "crash", "message": "M", "hint": "H", "traceback": trace}
    lines = lines_of(event, "train")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == "  ... 26 further lines in log.txt"
    assert lines[-3:] == ["  line 39", "error: M", "hint: H"]


def test_lines_are_written_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert lines_of({"event": "checkpoint", "step": 5}, "train") == ["  已保存 checkpoint-5"]


def test_a_sparkline_follows_its_values() -> None:
    assert sparkline([0, 1, 2, 3], 4, "0123") == "0123"
    assert len(sparkline([float(n) for n in range(1000)], 30)) <= 30
    assert sparkline([1.0, 1.0], 8, "01") == "00"
    assert sparkline([], 8) == ""


def test_preference_pairs_are_described_with_the_data() -> None:
    event = {
        "event": "data", "rows": 4, "held_out": 0, "bad": 0, "cut": 0, "dropped": 0,
        "nothing_to_learn": 0, "tokens": 40, "trained_tokens": 20, "percentiles": {"50%": 10},
        "max_length": 64,
        "preferences": {
            "pairs": 4, "longer_chosen": 0.75, "length_ratio": 2.0, "repeated_prompts": 0,
            "identical": 0, "duplicates": 0,
        },
    }  # fmt: skip
    lines = lines_of(event, "train")
    assert "chosen is longer in 75%" in lines[2]
    assert "length bias" in lines[3]
    assert len(lines_of({**event, "preferences": None}, "train")) == 2


def test_the_live_display_shows_nothing_under_way_after_the_end() -> None:
    view = View("merge", plain=True, stream=io.StringIO())
    view.event({"event": "stage", "name": "verify", "detail": "m"})
    assert view.panel(80).plain == "checking the written model …"
    view.event({"event": "done", "task": "merge", "seconds": 1.0, "model": "m"})
    assert view.panel(80).plain == ""


def test_a_step_of_a_pipeline_starts_with_an_empty_panel() -> None:
    view = View("pipeline", plain=True, stream=io.StringIO())
    part = {"event": "part", "says": "begins", "number": 1, "total": 2, "aside": None}
    view.event({**part, "name": "a", "task": "train"})
    for event in EVENTS:
        view.event({"event": "inner", "of": "a", "inner": event})
    assert view.training.last_step is not None
    view.event({**part, "number": 2, "name": "b", "task": "merge"})
    assert view.panel(80).plain == "…"


def test_truncated_and_skipped_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    event = {
        "event": "data", "rows": 4, "held_out": 1, "bad": 2, "cut": 3, "dropped": 4,
        "nothing_to_learn": 5, "tokens": 40, "trained_tokens": 20,
        "percentiles": {"p50": 10, "p90": 12}, "max_length": 64, "preferences": None,
    }  # fmt: skip
    assert lines_of(event, "train") == [
        "  tokens per row: p50 10, p90 12",
        "  4 training rows, 1 held out; 20 of 40 tokens are learned",
        "  max_length 64: 3 rows truncated",
        "  max_length 64: 4 longer rows dropped",
        "  5 rows skipped: no token to learn",
        "  2 bad rows skipped",
    ]
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert lines_of(event, "train")[2:] == [
        "  max_length 64：截断 3 行",
        "  max_length 64：丢弃过长的 4 行",
        "  略去无可学习内容的 5 行",
        "  跳过 2 个坏行",
    ]
