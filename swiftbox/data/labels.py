"""Judgements of answers: desirable or not (KTO, arXiv:2402.01306), and margins of pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swiftbox.data.cells import Row, first, number_in
from swiftbox.data.conversations import read_conversation
from swiftbox.data.example import Example, RowError, kind_of

LABELS = ("label", "kto_tag")
SCORES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))
"""Columns with a score for each answer, as in UltraFeedback and LLaMA-Factory."""

BOOLEANS = {"true": True, "false": False}


def label_of(value: Any) -> bool | None:
    """Return the meaning of a label: true or false, 1 or 0, as text too; None for anything else."""
    if isinstance(value, str):
        return BOOLEANS.get(value.strip().lower())
    return bool(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def read_labelled(row: Row) -> Example:
    """Read a conversation with a `label` column (LLaMA-Factory: `kto_tag`)."""
    key = first(row, LABELS)
    label = label_of(row[key])
    if label is None:
        value = row[key]
        got = value[:40] if isinstance(value, str) and value.strip() else kind_of(value)
        got = str(value) if got == "number" else got
        raise RowError(
            "label",
            f"{key} should be true or false (got {got})",
            f"{key} 应为 true 或 false（当前为 {got}）",
        )
    return replace(read_conversation(row), label=label)


def with_labels(example: Example) -> tuple[Example, ...]:
    """Return the labelled examples of a row: a pair becomes a desirable and an undesirable one."""
    if not example.rejected:
        return (example,)
    chosen = Example(example.messages, example.tools, label=True)
    return chosen, Example(example.rejected, example.tools, label=False)


def require_unlabelled(row: Row) -> None:
    """Refuse a row that labels its answer good or bad, where every answer is learned."""
    for key in LABELS:
        if key in row and label_of(row[key]) is not None:
            raise RowError(
                "stage",
                f"{key} labels the answer as good or bad: train with stage: kto; if it means "
                f"something else, leave it out (columns: {{{key}: unused}})",
                f"{key} 表示回答好坏：请用 stage: kto；若另有含义，请忽略该列"
                f"（columns: {{{key}: unused}}）",
            )


def with_margin(example: Example, row: Row) -> Example:
    """Return a pair with its margin: the margin column, or the difference of two scores."""
    margin = number_in(row, "margin")
    origin = "margin"
    for chosen, rejected in SCORES:
        if margin is None:
            better, worse = number_in(row, chosen), number_in(row, rejected)
            if better is not None and worse is not None:
                margin, origin = better - worse, f"{chosen} - {rejected}"
    if margin is None:
        return example
    if margin < 0:
        raise RowError(
            "margin",
            f"{origin} should be 0 or more: chosen is the better answer (got {margin:g})",
            f"{origin} 应不小于 0：chosen 应是更好的回答（当前为 {margin:g}）",
        )
    return replace(example, margin=margin)
