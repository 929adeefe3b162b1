"""Answers to own rows: tokens or messages, kept as they arrive, asked for once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from loopback_models import LoopbackModels, Refusal, loopback_models

from swiftbox.errors import RunError
from swiftbox.evaluation.own_rows import asking
from swiftbox.evaluation.own_rows.asking import (
    AnswerSettings,
    Asking,
    LineFile,
    RowQuestion,
)
from swiftbox.evaluation.own_rows.row_files import ChosenRow
from swiftbox.evaluation.own_rows.row_scores import scored_rows
from swiftbox.serving.client import Endpoint

ROWS = [
    ChosenRow(f"r:{number}", "yes", ({"role": "user", "content": str(number)},))
    for number in range(1, 7)
]


def answers(models: LoopbackModels, path: Path, *, tokens: bool, concurrency: int = 2) -> bool:
    settings = AnswerSettings(16, 0.0, 42, concurrency, {"enable_thinking": False})
    prompts = [[number, 5] if tokens else None for number in range(len(ROWS))]
    questions = [RowQuestion(*pair) for pair in zip(ROWS, prompts, strict=True)]
    model = Asking(Endpoint.at(models.url), "m", settings)
    return model.answer_all(questions, LineFile(path), lambda *_: None, threading.Event())


def test_a_server_of_ours_gets_tokens_and_another_messages(tmp_path: Path) -> None:
    with loopback_models(lambda _body: "yes") as models:
        assert answers(models, tmp_path / "tokens.jsonl", tokens=True)
        assert sorted(body["prompt"] for body in models.requests) == [[n, 5] for n in range(6)]
        models.requests.clear()
        assert answers(models, tmp_path / "messages.jsonl", tokens=False)
    (body, *_) = models.requests
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.0, 42, 16)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    lines = LineFile(tmp_path / "messages.jsonl").read()
    assert {line["id"] for line in lines} == {row.id for row in ROWS}
    assert {(line["answer"], line["end"], line["tokens"]) for line in lines} == {("yes", "stop", 2)}


def test_answers_before_a_failure_are_kept_and_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_WAIT_S", 0.0)
    left = [3]

    def ends(_body: Mapping[str, Any]) -> str:
        if not left[0]:
            raise Refusal(500, "out of memory")
        left[0] -= 1
        return "yes"

    with loopback_models(ends) as models:
        with pytest.raises(RunError, match="m: no answer: out of memory"):
            answers(models, tmp_path / "a.jsonl", tokens=True)
        before = {line["id"] for line in LineFile(tmp_path / "a.jsonl").read()}
        assert len(before) == 3
        left[0] = 9
        models.requests.clear()
        assert answers(models, tmp_path / "a.jsonl", tokens=True)
        assert len(models.requests) == 3
    assert len(LineFile(tmp_path / "a.jsonl").read()) == 6


def test_a_busy_server_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_WAIT_S", 0.0)
    refused = [2]

    def busy(_body: Mapping[str, Any]) -> str:
        if refused[0]:
            refused[0] -= 1
            raise Refusal(429, "slow down")
        return "yes"

    with loopback_models(busy) as models:
        assert answers(models, tmp_path / "a.jsonl", tokens=True)
    assert len(models.requests) == 6 + 2


def test_a_request_under_way_does_not_delay_the_end_of_a_stopped_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "END_S", 0.0)
    stop, answered = threading.Event(), threading.Event()

    def slow(_body: Mapping[str, Any]) -> str:
        stop.set()
        answered.wait()
        return "yes"

    with loopback_models(slow) as models:
        before = threading.enumerate()
        model = Asking(Endpoint.at(models.url), "m", AnswerSettings(16, 0.0, 42, 2))
        lines = LineFile(tmp_path / "a.jsonl")
        assert not model.answer_all([RowQuestion(ROWS[0])], lines, lambda *_: None, stop)
        waiting = [thread for thread in threading.enumerate() if thread not in before]
        assert waiting
        assert all(thread.daemon for thread in waiting)
        answered.set()


def test_a_prompt_that_is_too_long_counts_as_an_empty_answer(tmp_path: Path) -> None:
    def short(body: Mapping[str, Any]) -> str:
        if body["prompt"][0] == 0:
            raise Refusal(400, "the prompt has more tokens than the context")
        return "yes"

    with loopback_models(short) as models:
        assert answers(models, tmp_path / "a.jsonl", tokens=True)
    rows = scored_rows(ROWS, LineFile(tmp_path / "a.jsonl").read(), ["exact_match"])
    assert [(row["end"], row["exact_match"]) for row in rows[:2]] == [("refused", 0), ("stop", 1)]


def test_an_answer_is_compared_without_its_reasoning() -> None:
    row = ChosenRow("r:1", "<think>\nhm\n</think>\n\nyes")
    lines = [{"id": "r:1", "answer": "other thoughts</think>\n\nYes", "end": "stop"}]
    (scored,) = scored_rows([row], lines, ["exact_match", "rouge_l"])
    assert (scored["answer"], scored["exact_match"], scored["rouge_l"]) == ("Yes", 1, 1)


def test_a_row_without_text_to_compare_with_has_no_scores() -> None:
    lines = [{"id": "r:1", "answer": "yes", "end": "stop"}]
    (scored,) = scored_rows([ChosenRow("r:1", "")], lines, ["exact_match", "rouge_l"])
    assert "exact_match" not in scored
