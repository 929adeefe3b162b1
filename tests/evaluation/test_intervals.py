"""Intervals and tests against published values and closed forms."""

from __future__ import annotations

import math

import pytest

from swiftbox.evaluation.intervals import difference, mcnemar, newcombe, normal, score, wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_values_of_newcombe_1998(
    right: int, count: int, low: float, high: float
) -> None:
    outcome = wilson(right, count)
    assert (round(outcome.low, 4), round(outcome.high, 4)) == (low, high)
    assert outcome.value == right / count


def test_wilson_is_the_same_from_either_side() -> None:
    first, second = wilson(7, 30), wilson(23, 30)
    assert first.low == pytest.approx(1 - second.high)


def test_mcnemar_is_the_binomial_test_of_the_changes() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)  # Fagerland et al. 2013, table 5


def test_newcombe_gives_the_published_interval() -> None:
    outcome = newcombe(both=1, gained=1, lost=7, neither=12)  # Fagerland et al. 2014: Bentur's data
    assert (round(outcome.low, 3), round(outcome.high, 3)) == (-0.507, -0.026)


def test_newcombe_turns_its_sign_with_the_order() -> None:
    gain, loss = newcombe(36, 12, 2, 0), newcombe(36, 2, 12, 0)
    assert (gain.low, gain.high) == pytest.approx((-loss.high, -loss.low))
    assert (round(gain.low, 4), round(gain.high, 4)) == (0.0569, 0.3404)  # Newcombe 1998, table II


def test_equal_answers_have_no_difference() -> None:
    outcome = difference([1, 0, 1], [1, 0, 1])
    assert (outcome.interval.value, outcome.p_value, outcome.is_significant) == (0, 1, False)


def test_a_difference_is_significant_only_if_it_is_large_enough() -> None:
    assert not difference([0] * 5, [1] * 5).is_significant  # p = 2/32
    assert difference([0] * 6, [1] * 6).is_significant  # p = 2/64
    assert difference([1] * 6, [0] * 6).interval.value == -1


def test_scores_between_right_and_wrong_have_the_normal_interval() -> None:
    values = [0.0, 0.5, 1.0, 0.5]
    outcome = score(values)
    half = 1.959963984540054 * math.sqrt((1 / 6) / 4)
    assert (outcome.low, outcome.high) == pytest.approx((0.5 - half, 0.5 + half))
    again = difference(values, [value + 0.25 for value in values])
    assert again.method == "normal"
    assert again.is_significant
    assert again.interval.value == 0.25
    assert again.p_value == 0


def test_one_score_alone_says_nothing() -> None:
    assert normal([0.3]).low == -math.inf


def test_pairs_require_the_same_questions() -> None:
    with pytest.raises(ValueError, match="paired"):
        difference([1], [1, 0])
