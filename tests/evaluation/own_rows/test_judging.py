"""Verdicts of judges with a known rule: fair, biased, broken, interrupted."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from loopback_models import LoopbackModels, Refusal, Rule, loopback_models

from swiftbox.errors import RunError
from swiftbox.evaluation.intervals import mcnemar, wilson
from swiftbox.evaluation.own_rows import asking
from swiftbox.evaluation.own_rows.asking import LineFile
from swiftbox.evaluation.own_rows.judge_prompt import INSTRUCTIONS, language_of, read_verdict
from swiftbox.evaluation.own_rows.judging import Judge, Pair, judged
from swiftbox.evaluation.own_rows.row_files import ChosenRow
from swiftbox.serving.client import Endpoint


def material(body: Mapping[str, Any]) -> dict[str, str]:
    """Return what a judge is shown."""
    shown: dict[str, str] = json.loads(body["messages"][1]["content"])
    return shown


def longer(body: Mapping[str, Any]) -> str:
    """Prefer the longer answer, whatever the order."""
    first, second = (len(material(body)[key]) for key in ("answer_A", "answer_B"))
    return json.dumps({"better": "tie" if first == second else "A" if first > second else "B"})


def pairs(*answers: tuple[str, str]) -> list[Pair]:
    """Return pairs of the answers of baseline and candidate."""
    return [
        Pair(ChosenRow(f"r:{number}", "right", ({"role": "user", "content": "?"},)), *both)
        for number, both in enumerate(answers, 1)
    ]


PAIRS = pairs(("a", "aa"), ("b", "bb"), ("cc", "c"), ("d", "e"), ("same", "same"))


def verdicts(rule: Rule, path: Path, chosen: list[Pair] = PAIRS) -> tuple[dict[str, Any], Any]:
    """Judge pairs; return what was found, and the server with its requests."""
    with loopback_models(rule) as models:
        lines = LineFile(path / "verdicts.jsonl")
        assert judge_at(models).judge(chosen, lines, lambda *_: None, threading.Event())
    return judged(lines.read()), models


def judge_at(models: LoopbackModels) -> Judge:
    return Judge(Endpoint.at(models.url), "judge", 64, 3)


def test_both_orders_decide_and_the_win_rate_is_the_closed_form(tmp_path: Path) -> None:
    result, models = verdicts(longer, tmp_path)
    assert (result["win"], result["loss"], result["tie"], result["same"]) == (2, 1, 1, 1)
    expected = wilson(2 + 2 / 2, 5)
    assert (result["value"], result["low"]) == pytest.approx((expected.value, expected.low), 1e-5)
    assert result["p"] == mcnemar(2, 1)
    assert (result["questions"], result["tokens"], len(models.requests)) == (8, 72, 8)
    assert result["first"] == [3, 6]
    body = models.requests[0]
    assert body["temperature"] == 0
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["better"]
    assert material(body)["reference"] == "right"


def test_a_judge_that_prefers_a_position_gives_ties_and_is_exposed(tmp_path: Path) -> None:
    result, _ = verdicts(lambda _body: '{"better": "A"}', tmp_path)
    assert (result["win"], result["loss"], result["flipped"], result["same"]) == (0, 0, 4, 1)
    assert (result["value"], result["told"], result["first"]) == (0.5, False, [8, 8])


def test_replies_without_a_verdict_are_counted_and_not_guessed(tmp_path: Path) -> None:
    def mumbles(body: Mapping[str, Any]) -> str:
        return "I think A is better" if material(body)["answer_A"] == "a" else longer(body)

    result, _ = verdicts(mumbles, tmp_path)
    assert (result["unread"], result["unread_replies"], result["count"]) == (1, 1, 4)
    (line,) = [line for line in LineFile(tmp_path / "verdicts.jsonl").read() if "reply" in line]
    assert line["reply"] == "I think A is better"


def test_a_judge_that_never_gives_a_verdict_has_no_win_rate(tmp_path: Path) -> None:
    result, _ = verdicts(lambda _body: "", tmp_path, PAIRS[:2])
    assert (result["count"], result["unread"], result["told"]) == (0, 2, False)
    assert "value" not in result


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"better": "A"}', "A"),
        ('```json\n{"better": "b"}\n```', "B"),
        ('<think>A? {"better": "A"}</think>\n{"better": "tie"}', "TIE"),
        ('{"better": "A"} because', ""),
        ('{"better": "A or B"}', ""),
        ('{"better": ["A"]}', ""),
        ("[" * 100_000, ""),
        ("A", ""),
    ],
)
def test_only_exact_verdicts_are_read(reply: str, verdict: str) -> None:
    assert read_verdict(reply) == verdict


def test_settings_that_a_server_refuses_are_left_out_for_all_later_requests(tmp_path: Path) -> None:
    def strict(body: Mapping[str, Any]) -> str:
        for setting in ("response_format", "max_tokens", "temperature"):
            if setting in body:
                raise Refusal(400, f"Unsupported parameter: '{setting}' is not supported")
        assert body["max_completion_tokens"] == 64
        return longer(body)

    result, models = verdicts(strict, tmp_path)
    assert (result["win"], result["unread"]) == (2, 0)
    assert len(models.requests) <= 8 + 3 * 3  # three threads learn of three settings each


def test_an_interrupted_judging_continues_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_WAIT_S", 0.0)
    answered: list[str] = []

    def dies(body: Mapping[str, Any]) -> str:
        if len(answered) == 3:
            raise Refusal(503, "overloaded")
        answered.append(body["messages"][1]["content"])
        return longer(body)

    with pytest.raises(RunError, match="no verdict: overloaded"):
        verdicts(dies, tmp_path)
    path = tmp_path / "verdicts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "r:9", "ord')  # as a kill leaves it
    result, models = verdicts(longer, tmp_path)
    again = [body["messages"][1]["content"] for body in models.requests]
    assert len(again) == 5
    assert not set(again) & set(answered)
    assert (result["win"], result["loss"], result["tie"], result["same"]) == (2, 1, 1, 1)


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_judge_that_refuses_every_request_ends_the_run(tmp_path: Path, status: int) -> None:
    def refuses(_body: Mapping[str, Any]) -> str:
        raise Refusal(status, "no such model")

    with pytest.raises(RunError, match="no verdict: no such model") as raised:
        verdicts(refuses, tmp_path)
    assert "judge_model" in raised.value.hint


def test_the_judge_is_asked_in_the_language_of_most_rows() -> None:
    chinese = ChosenRow("a:1", "好", ({"role": "user", "content": "天气如何"},))
    assert language_of([chinese, chinese, PAIRS[0].row]) == "zh"
    assert language_of([chinese, PAIRS[0].row]) == "en"
    assert all('{"better": "tie"}' in prompt for prompt in INSTRUCTIONS.values())
