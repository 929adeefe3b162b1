"""What is said of answers: desirable or not (KTO, arXiv:2402.01306), and better by how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swiftbox.data.cells import Row, first, number_in
from swiftbox.data.conversations import read_whole
from swiftbox.data.example import Example, RowError, kind_of

LABELS = ("label", "kto_tag")
SCORES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))
"""Columns with a score of each answer, as UltraFeedback and LLaMA-Factory write them."""

WORDS = {"true": True, "false": False}


def label_of(value: Any) -> bool | None:
    """Return what a label says: true or false, 1 or 0, or those words; None for anything else."""
    if isinstance(value, str):
        return WORDS.get(value.strip().lower())
    return bool(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def read_labelled(row: Row) -> Example:
    """Read a whole conversation with `label` (LLaMA-Factory: `kto_tag`) beside it."""
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
    return replace(read_whole(row), label=label)


def judged(example: Example) -> tuple[Example, ...]:
    """Return the labelled examples of one: a pair becomes a desirable and an undesirable one."""
    if not example.rejected:
        return (example,)
    chosen = Example(example.messages, example.tools, label=True)
    return chosen, Example(example.rejected, example.tools, label=False)


def require_unjudged(row: Row) -> None:
    """Refuse a row whose label says whether its answer is good, where every answer is learned."""
    for key in LABELS:
        if key in row and label_of(row[key]) is not None:
            raise RowError(
                "stage",
                f"{key} says whether the answer is good: train with stage: kto, or, where it says "
                f"something else, rename it (columns: {{{key}: topic}})",
                f"{key} 表示回答好坏：请用 stage: kto；若另有含义，请改名"
                f"（columns: {{{key}: topic}}）",
            )


def with_margin(example: Example, row: Row) -> Example:
    """Return a pair with its margin: the column of that name, or the difference of two scores."""
    margin = number_in(row, "margin")
    said = "margin"
    for chosen, rejected in SCORES:
        if margin is None:
            better, worse = number_in(row, chosen), number_in(row, rejected)
            if better is not None and worse is not None:
                margin, said = better - worse, f"{chosen} - {rejected}"
    if margin is None:
        return example
    if margin < 0:
        raise RowError(
            "margin",
            f"{said} should be 0 or more, the chosen answer is the better one (got {margin:g})",
            f"{said} 应不小于 0：chosen 应是更好的回答（当前为 {margin:g}）",
        )
    return replace(example, margin=margin)
