"""Intervals of saving and evaluating: a number of updates, or a share of all updates."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from swiftbox.methods.sft import SftConfig


@pytest.mark.parametrize("key", ["save_steps", "eval_steps"])
@pytest.mark.parametrize(("value", "expected"), [(50, 50), (50.0, 50), (0.25, 0.25)])
def test_an_interval_is_a_number_of_updates_or_a_share_of_them(
    key: str, value: float, expected: float
) -> None:
    interval = getattr(SftConfig(model="m", dataset="d", **{key: value}), key)
    assert (interval, type(interval)) == (expected, type(expected))


@pytest.mark.parametrize("key", ["save_steps", "eval_steps"])
def test_an_interval_between_a_share_and_a_number_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="share below 1, or a whole number"):
        SftConfig(model="m", dataset="d", **{key: 2.5})
