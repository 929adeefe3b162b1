"""What scores of own rows show: intervals, differences, remarks, the page and the table."""

from __future__ import annotations

from typing import Any

import pytest

from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.intervals import mcnemar
from swiftbox.evaluation.own_rows.findings import MeasuredCandidate, findings, remarks
from swiftbox.evaluation.own_rows.metric_names import difference_text, verdict_word
from swiftbox.evaluation.own_rows.page_section import rows_section
from swiftbox.evaluation.own_rows.terminal_table import rows_lines
from swiftbox.formatting import width

NAMES = ("a-base-with-a-name-longer-than-its-column", "<b>tuned</b>")


def candidate(name: str, right: int, loss: float) -> MeasuredCandidate:
    """Return ten rows of which the first ones are right, and their losses of ten tokens each."""
    rows = [
        {
            **{"id": f"r:{number}", "answer": "yes" if number < right else "", "expected": "yes"},
            **{"end": "length" if number == 9 else "stop", "tokens": 3},
            **{"exact_match": float(number < right), "rouge_l": float(number < right)},
        }
        for number in range(10)
    ]
    sums = [10 * loss + (number - 4.5) / 10 for number in range(10)]
    losses = {"loss": loss, "sums": sums, "counts": [10] * 10, "smoothing": 0.0}
    return MeasuredCandidate(Candidate(name, "base", "/m"), losses, rows)


METRICS = ("loss", "exact_match", "rouge_l")


def report(**more: Any) -> dict[str, Any]:
    pair = [candidate(NAMES[0], 2, 2.0), candidate(NAMES[1], 9, 1.5)]
    results = findings(pair, METRICS)
    about = {"title": "rows", "rows": 10, "cut": 1, "left_out": 2, "metrics": [*METRICS]}
    plain = {"unmeasured": {"gguf": "only its engine reads it"}, "bleu_tokenizer": "13a"}
    return {**about, **plain, **results, "judge": None, **more}


def test_scores_are_compared_row_by_row_with_the_baseline() -> None:
    differences = {row["metric"]: row for row in report()["differences"]}
    assert differences["exact_match"]["p"] == mcnemar(7, 0)
    assert (differences["exact_match"]["gained"], differences["exact_match"]["lost"]) == (7, 0)
    assert differences["loss"]["value"] == pytest.approx(-0.5)
    # every row's loss falls by the same amount: so does that of every sample of rows
    assert (differences["loss"]["low"], differences["loss"]["high"]) == pytest.approx((-0.5, -0.5))
    assert [verdict_word(row) for row in differences.values()] == ["better"] * 3
    assert difference_text(differences["loss"]) == "-0.500 (-0.500 to -0.500)"
    scores = {(row["candidate"], row["metric"]): row for row in report()["scores"]}
    assert scores[NAMES[1], "loss"]["perplexity"] == pytest.approx(4.481689)
    assert scores[NAMES[1], "rouge_l"]["high"] <= 1


def test_cut_empty_and_too_short_answers_have_a_remark() -> None:
    results = findings([candidate("m", 8, 1.0)], METRICS)
    lines = list(remarks({**results, "too_short": True}))
    assert "cut off at max_tokens are scored as they are (m 1/10)" in lines[0]
    assert "empty answers (m 2/10)" in lines[1]
    assert "BLEU compares four words" in lines[2]


def judged(**counts: Any) -> dict[str, Any]:
    row = {"candidate": NAMES[1], "against": NAMES[0], "win": 5, "loss": 1, "tie": 1, "flipped": 2}
    rest = {"same": 1, "unread": 1, "count": 10, "told": False, "first": [9, 14]}
    values = {"value": 0.7, "low": 0.4, "high": 0.9}
    return {"model": "j", "prompt": "<ask>", "verdicts": [{**row, **rest, **values, **counts}]}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_fits_into_80_columns_with_the_judge(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    lines = rows_lines(report(judge=judged()), 80)
    assert all(width(line) <= 80 for line in lines), lines
    assert sum("<b>tuned</b>" in line for line in lines) == 4
    assert not any("…" in line for line in lines if "tuned" in line), lines


def test_the_page_shows_texts_of_models_as_texts() -> None:
    answers = {name: [{"id": "<i>", "expected": "<p>", "answer": "<script>"}] for name in NAMES}
    page = "".join(rows_section(report(judge=judged(count=0)), answers))
    assert not any(mark in page for mark in ("<script", "<b>tuned", "<ask>", "<i>"))
    assert "5 won, 4 tied, 1 lost" in page
    assert "1 cut at max_length" in page
    assert "".join(rows_section(None, {})) == ""
