"""Questions and tokens before an evaluation; the rate of its answers and the time left."""

from __future__ import annotations

import pytest

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.display.lines import status_line
from swiftbox.evaluation.answer_speed import remember_speed, remembered_speed
from swiftbox.evaluation.benchmarks import select_benchmarks
from swiftbox.evaluation.workload import AnswerRate, workload_remark
from swiftbox.formatting import duration
from swiftbox.runs import events


def line(*names: str, **settings: object) -> str:
    values = {"model": "o/m", "compare": ["o/n"], "benchmarks": list(names), **settings}
    config = EvaluateConfig.model_validate(values)
    return workload_remark(config, select_benchmarks(names, None)).message


def test_questions_and_tokens_are_counted_for_all_models() -> None:
    counted = line("sample_ceval", limit=2, max_tokens=10)
    questions = int(counted.split("sample_ceval ")[1].split(";")[0])
    assert counted.endswith(
        f"2 models, {2 * questions} in all, at most {20 * questions} generated tokens; "
        "the time left is shown while it runs"
    )


def test_the_time_is_estimated_by_the_speed_of_an_earlier_run() -> None:
    values = {"model": "o/m", "compare": ["o/n"]}
    earlier = EvaluateConfig.model_validate(values)
    remember_speed(earlier, answers=4, tokens=200, seconds=10.0)
    speed = remembered_speed(earlier)
    assert speed is not None
    assert speed.seconds(8, 512) == 8 * 50 / 20
    assert speed.seconds(8, 10) == 8 * 10 / 20
    counted = line("sample_ceval", limit=2, max_tokens=10)
    questions = int(counted.split("in all")[0].rpartition(",")[2])
    about = duration(10 * questions / 20)
    assert counted.endswith(f"at most about {about} at the speed of an earlier run")
    assert "earlier run" not in line("sample_ceval", limit=2, batch_size=9)


def test_a_limited_benchmark_of_the_hub_has_an_unknown_number() -> None:
    assert line("ceval", limit=2) == "questions for each model: ceval unknown before the start"


def test_likelihoods_generate_no_tokens() -> None:
    assert "tokens" not in line("sample_ceval", backend="lm_eval")


def test_the_rate_is_that_of_new_answers() -> None:
    rate = AnswerRate()
    rate.add(0.0, 40)  # answered before an interruption
    assert (rate.per_s(), rate.eta_s(100)) == (None, None)
    rate.add(10.0, 60)
    assert rate.per_s() == 2.0
    assert rate.eta_s(100) == 20.0
    assert rate.eta_s(None) is None


def test_the_start_of_the_tool_leaves_the_rate() -> None:
    rate = AnswerRate()
    for time_s, count in ((1.0, 0), (31.0, 0), (32.0, 4)):
        rate.add(time_s, count)
    assert rate.per_s() == 4.0


@pytest.mark.parametrize(
    ("speed", "shown"),
    [
        ({}, ""),
        ({"per_s": 2.5, "eta_s": None}, ", 2.5/s"),
        ({"per_s": 2.0, "eta_s": 20.0}, ", 2/s, 20 s left"),
    ],
)
def test_the_rate_is_shown_with_the_answers(speed: dict[str, float], shown: str) -> None:
    event = {"event": events.ANSWERS, "candidate": "c", "benchmark": "b", "count": 3, "total": 9}
    assert status_line({**event, **speed}, "evaluate") == f"  c: b 3/9 answered{shown}"
