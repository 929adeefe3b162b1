"""Reports of scores: the table in 80 columns, the self-contained page, remarks."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.evaluation.benchmarks import select_benchmarks
from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.page import page
from swiftbox.evaluation.report import summary
from swiftbox.evaluation.report_files import PAGE, ReportContent, write_report
from swiftbox.evaluation.table import lines
from swiftbox.formatting import width

NAMES = ("a-base-with-a-name-longer-than-its-column", "tuned", "<b>4-bit & co</b>")
CANDIDATES = tuple(
    Candidate(name, kind, f"/models/{kind}")
    for name, kind in zip(NAMES, ("base", "adapter", "model"), strict=True)
)


def result(correct: int, *, count: int = 40, **fields: Any) -> dict[str, Any]:
    """Return an invented result: the first `correct` questions of two subjects are correct."""
    samples = [
        {
            "id": f"s/{n}",
            "subject": ("anatomy", "virology")[n % 2],
            "metric": "accuracy",
            "score": float(n < correct),
            "read": "A",
            "expected": "A",
            "end": "stop",
            **fields,
        }
        for n in range(count)
    ]
    score = correct / count
    return {
        "tool": "evalscope 1",
        "few_shot": 5,
        "seconds": 3.0,
        "samples": samples,
        "tool_score": score,
    }


def report_of(
    *results: dict[str, Any], name: str = "sample_mmlu"
) -> tuple[dict[str, Any], dict[Any, Any]]:
    pairs = zip(CANDIDATES, results, strict=False)
    by_name = {(candidate.name, name): content for candidate, content in pairs}
    benchmarks = select_benchmarks([name], None)
    return summary(CANDIDATES[: len(results)], benchmarks, by_name), by_name


def complete(report: dict[str, Any]) -> dict[str, Any]:
    settings = {
        "made": "2026",
        "swiftbox": "1",
        "seconds": 3.0,
        "settings": {"limit": None, "seed": 1},
    }
    return {
        **report,
        **settings,
        "machine": {"devices": [], "backend": "cpu", "cores": 2, "versions": {}},
    }


def test_a_gain_is_significant_and_an_equal_score_is_not() -> None:
    report, _ = report_of(result(10), result(24), result(11))
    differences = {row["candidate"]: row for row in report["differences"]}
    assert differences["tuned"]["told"]
    assert differences["tuned"]["value"] == pytest.approx(0.35)
    assert (differences["tuned"]["gained"], differences["tuned"]["lost"]) == (14, 0)
    assert differences["tuned"]["p"] == pytest.approx(2 / 2**14)
    assert not differences[NAMES[2]]["told"]
    assert [subject["count"] for subject in report["scores"][0]["subjects"]] == [20, 20]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_fits_into_80_columns(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    report, _ = report_of(result(10, read=""), result(24), result(40))
    shown = lines(report)
    assert all(width(line) <= 80 for line in shown), shown
    better, equal = ("better", "~") if language == "en" else ("更好", "~")
    assert any("tuned" in line and better in line for line in shown)
    assert equal in "".join(shown)


def test_unusable_answers_are_reported_with_the_remedy() -> None:
    report, _ = report_of(result(0, read="", end="max_tokens"), result(0, end="refused", read=None))
    remarks = " ".join(report["remarks"])
    assert f"without a recognizable choice count as wrong ({NAMES[0]} 40/40; cut off" in remarks
    assert "backend: lm_eval" in remarks
    assert "were refused and count as wrong (tuned 40/40)" in remarks
    assert "its scores are not comparable with published figures" in remarks


def test_a_model_that_always_gives_the_same_answer_is_reported() -> None:
    report, _ = report_of(result(10, read="C"), result(10, read=""))
    remarks = [line for line in report["remarks"] if "its score is just how often" in line]
    assert len(remarks) == 1
    assert f"{NAMES[0]} answers C to 40 of 40" in remarks[0]


def test_a_contradicting_report_of_the_tool_is_mentioned() -> None:
    report, _ = report_of({**result(10), "tool_score": 0.3})
    assert any("says 0.3000, the questions give 0.2500" in line for line in report["remarks"])


def test_only_questions_that_both_answered_are_compared() -> None:
    report, _ = report_of(result(10), result(10, count=30))
    assert report["differences"][0]["count"] == 30


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_self_contained_and_escapes_names(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    report, results = report_of(result(10), result(24), result(11))
    content = page(complete(report), results)
    assert not re.search(r"<script|<link|<img|src=|@import|url\(|https?://", content)
    assert "<b>4-bit" not in content
    assert "&lt;b&gt;4-bit &amp; co" in content
    assert content.count("<svg") == 2
    assert ("看不出差异" if language == "zh" else "no significant difference") in content
    assert "prefers-color-scheme: dark" in content


class PageTags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_page_allows_no_script_no_request_and_no_markup_of_strangers() -> None:
    evil = "<img src=x onerror=alert(1)>\"'><svg/onload=alert(1)>\x1b[2J\u202e\x00javascript:"
    report, results = report_of(result(10), result(24))
    hostile = complete(report)
    hostile["settings"] = {evil: evil}
    hostile["remarks"] = [evil]
    for benchmark in hostile["benchmarks"]:
        benchmark["title"] = evil
        benchmark["metric"] = evil
    for saved in results.values():
        for sample in saved["samples"]:
            sample["read"] = sample["expected"] = evil
    content = page(hostile, results)
    assert "default-src 'none'" in content
    tags = PageTags()
    tags.feed(content)
    assert not tags.names & {"img", "script", "a", "iframe", "link", "object", "form"}
    assert not [name for name in tags.attributes if name.startswith("on") or name == "href"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", content)
    assert "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&gt;" in content
    assert "&lt;U+202E&gt;" in content


def test_the_style_is_in_the_package() -> None:
    import swiftbox.evaluation.page as module

    assert Path(module.__file__).with_name("page.css").is_file()


def test_held_out_rows_that_were_not_measured_stand_in_report_and_page(tmp_path: Path) -> None:
    config = EvaluateConfig(model="o/m")
    content = ReportContent(CANDIDATES[:1], 1.0, rows_left_out="not measured: dataset changed")
    findings = write_report(config, [], tmp_path, content)
    assert findings["remarks"] == ["not measured: dataset changed"]
    assert "! not measured: dataset changed" in lines(findings)
    assert "not measured: dataset changed" in (tmp_path / PAGE).read_text("utf-8")
