"""Two models are the same if rounding explains the difference of their outputs."""

from __future__ import annotations

import torch

from swiftbox.core.weights.compare import ModelOutputs, OutputDifference, compare_outputs


def outputs(values: torch.Tensor, answer: tuple[int, ...], margin: float) -> ModelOutputs:
    return ModelOutputs((values,), (answer,), ((margin,) * len(answer),))


def test_answers_that_differ_at_a_tie_count_as_equal_and_others_do_not() -> None:
    values = torch.ones(2, 3)
    at_tie = compare_outputs(outputs(values, (1, 2), 1e-6), outputs(values, (1, 0), 1e-6))
    clear = compare_outputs(outputs(values, (1, 2), 1e-2), outputs(values, (1, 0), 1e-2))
    assert (at_tie.is_rounding, clear.is_rounding) == (True, False)


def test_rounding_never_explains_nan() -> None:
    assert not OutputDifference(float("nan"), 0.0, 1.0, 1, 1).is_rounding
    assert not compare_outputs(
        outputs(torch.ones(1, 3), (1,), 1.0), outputs(torch.full((1, 3), torch.nan), (1,), 1.0)
    ).is_rounding
