"""What is told of scores: the table in 80 columns, the page that needs nothing else, remarks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from swiftbox.evaluation.benchmarks import chosen
from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.page import page
from swiftbox.evaluation.report import summary
from swiftbox.evaluation.table import across, lines, wrapped

NAMES = ("a-base-with-a-name-longer-than-its-column", "tuned", "<b>4-bit & co</b>")
CANDIDATES = tuple(
    Candidate(name, kind, f"/models/{kind}")
    for name, kind in zip(NAMES, ("base", "adapter", "model"), strict=True)
)


def result(right: int, *, count: int = 40, **said: Any) -> dict[str, Any]:
    """Return a made-up result: the first `right` questions are right, of two subjects."""
    samples = [
        {
            "id": f"s/{n}",
            "subject": ("anatomy", "virology")[n % 2],
            "metric": "accuracy",
            "score": float(n < right),
            "read": "A",
            "expected": "A",
            "end": "stop",
            **said,
        }
        for n in range(count)
    ]
    score = right / count
    return {
        "tool": "evalscope 1",
        "few_shot": 5,
        "seconds": 3.0,
        "samples": samples,
        "tool_score": score,
    }


def of(
    *results: dict[str, Any], name: str = "sample_mmlu"
) -> tuple[dict[str, Any], dict[Any, Any]]:
    found = {(who.name, name): one for who, one in zip(CANDIDATES, results, strict=False)}
    return summary(CANDIDATES[: len(results)], chosen([name], None), found), found


def whole(report: dict[str, Any]) -> dict[str, Any]:
    said = {"made": "2026", "swiftbox": "1", "seconds": 3.0, "settings": {"limit": None, "seed": 1}}
    return {
        **report,
        **said,
        "machine": {"devices": [], "backend": "cpu", "cores": 2, "versions": {}},
    }


def test_a_gain_is_told_and_an_equal_is_not() -> None:
    report, _ = of(result(10), result(24), result(11))
    told = {one["candidate"]: one for one in report["differences"]}
    assert told["tuned"]["told"]
    assert told["tuned"]["value"] == pytest.approx(0.35)
    assert (told["tuned"]["gained"], told["tuned"]["lost"]) == (14, 0)
    assert told["tuned"]["p"] == pytest.approx(2 / 2**14)
    assert not told[NAMES[2]]["told"]
    assert [one["count"] for one in report["scores"][0]["subjects"]] == [20, 20]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_fits_into_80_columns(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    report, _ = of(result(10, read=""), result(24), result(40))
    shown = lines(report)
    assert all(across(line) <= 80 for line in shown), shown
    better, equal = ("better", "~") if language == "en" else ("更好", "~")
    assert any("tuned" in line and better in line for line in shown)
    assert equal in "".join(shown)


def test_answers_that_are_none_are_told_with_what_to_do() -> None:
    report, _ = of(result(0, read="", end="max_tokens"), result(0, end="refused", read=None))
    remarks = " ".join(report["remarks"])
    assert f"no choice could be read count as wrong ({NAMES[0]} 40/40; cut off" in remarks
    assert "backend: lm_eval" in remarks
    assert "were refused, and count as wrong (tuned 40/40)" in remarks
    assert "its scores compare with no published figure" in remarks


def test_a_model_that_always_gives_the_same_answer_is_told() -> None:
    report, _ = of(result(10, read="C"), result(10, read=""))
    told = [one for one in report["remarks"] if "its score is how often that is right" in one]
    assert len(told) == 1
    assert f"{NAMES[0]} answers C to 40 of 40" in told[0]


def test_a_report_of_the_tool_that_says_otherwise_is_told() -> None:
    report, _ = of({**result(10), "tool_score": 0.3})
    assert any(
        "report says 0.3000, the questions one by one 0.2500" in one for one in report["remarks"]
    )


def test_only_questions_that_both_answered_are_compared() -> None:
    report, _ = of(result(10), result(10, count=30))
    assert report["differences"][0]["count"] == 30


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_needs_nothing_else_and_escapes_names(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    report, found = of(result(10), result(24), result(11))
    content = page(whole(report), found)
    assert not re.search(r"<script|<link|<img|src=|@import|url\(|https?://", content)
    assert "<b>4-bit" not in content
    assert "&lt;b&gt;4-bit &amp; co" in content
    assert content.count("<svg") == 2
    assert ("看不出差异" if language == "zh" else "no difference can be told") in content
    assert "prefers-color-scheme: dark" in content


def test_long_remarks_are_broken_between_words_and_between_wide_letters() -> None:
    assert wrapped("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrapped("中文中文", 5) == ["中文", "中文"]


def test_the_style_is_in_the_package() -> None:
    import swiftbox.evaluation.page as module

    assert Path(module.__file__).with_name("page.css").is_file()
