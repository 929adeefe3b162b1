"""What the review of an evaluation has of its own: the sample sets, one key away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.evaluation.benchmarks import SAMPLES
from swiftbox.language import text
from swiftbox.menu.draft import Draft
from swiftbox.menu.review_screen import Extra


def asks_others(values: Mapping[str, Any]) -> bool:
    """Tell whether benchmarks are asked that do not come along."""
    asked = set(as_list(values.get("benchmarks") or []))
    return not asked or not asked <= set(SAMPLES)


def samples_title() -> str:
    """Name the way to the sample sets."""
    return text("ask the small sample sets instead, offline", "改用自带的离线小样本集")


def extras(draft: Draft, _prepared: Any) -> Sequence[Extra]:
    """Offer the sample sets where others are asked, which are fetched."""
    if not asks_others(draft.values):
        return []
    samples = list(SAMPLES)
    return [Extra(samples_title(), lambda one: one.with_values(benchmarks=samples), "second")]
