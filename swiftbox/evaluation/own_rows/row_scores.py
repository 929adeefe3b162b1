"""The scores of a candidate's answers, row by row. Reasoning is left out on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.evaluation.own_rows import text_scores
from swiftbox.evaluation.own_rows.row_files import ChosenRow
from swiftbox.templates.reasoning import split_inline

CUT = "length"
"""How a server says that an answer reached max_tokens."""

BY_ROW = {
    "exact_match": text_scores.exact_match,
    "rouge_l": text_scores.rouge_l,
    "chrf": text_scores.chrf,
}
"""Metrics that each row has alone; BLEU is one of all rows."""


def scored_rows(
    rows: Sequence[ChosenRow], answers: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Return each row's answer with its scores; one without an answer to compare with has none."""
    by_id = {line["id"]: line for line in answers}
    scored = []
    for row in rows:
        line = by_id[row.id]
        answer, expected = (
            split_inline(part)[1].strip() for part in (line["answer"], row.expected)
        )
        values = {
            name: score(answer, expected)
            for name, score in BY_ROW.items()
            if name in metrics and expected
        }
        scored.append({**line, "answer": answer, "expected": expected, **values})
    return scored
