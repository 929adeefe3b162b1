"""The actions of an evaluation's review: its benchmarks replaced by samples, or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.own_rows import NONE
from swiftbox.evaluation.benchmarks import SAMPLES
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.menu.draft import Draft
from swiftbox.menu.review_screen import ReviewAction, TaskScreen


def needs_downloads(values: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation has benchmarks other than the included samples."""
    benchmarks = set(as_list(values.get("benchmarks") or []))
    return not benchmarks or not benchmarks <= {*SAMPLES, NONE}


def samples_title() -> str:
    """Return the title of the action that uses the included samples."""
    return text("use the included sample sets instead (offline)", "改用自带的小样本集（离线）")


def review_actions(draft: Draft, _prepared: Prepared | None) -> Sequence[ReviewAction]:
    """Offer the included samples, or own rows alone, in place of downloaded benchmarks."""
    if not needs_downloads(draft.values):
        return []

    def own_rows_alone(draft: Draft) -> Draft:
        return draft.with_values(benchmarks=[NONE])

    def use_samples(draft: Draft) -> Draft:
        return draft.with_values(benchmarks=list(SAMPLES))

    alone = text("measure own rows alone, without benchmarks", "只测自有数据，不测基准")
    return [
        ReviewAction(samples_title(), use_samples, "after run"),
        ReviewAction(alone, own_rows_alone, "after run"),
    ]


SCREEN = TaskScreen(
    run_title=("evaluate it", "开始评测"),
    detach_title=("evaluate it in the background", "后台评测"),
    subjects=("adapter", "model"),
    actions=review_actions,
)
