"""Answers that no reward function judges: they neither gain nor lose, and are counted."""

from __future__ import annotations

import torch

from swiftbox.core.losses.reward_functions import Accuracy
from swiftbox.core.training.unjudged import UnjudgedCount, neutral_rewards

NAN = float("nan")


def test_a_missing_reward_equals_the_mean_of_its_group() -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 1.0], [NAN, 0.0], [1.0, 1.0], [NAN, 0.5], [0.0, 0.5]])
    filled = neutral_rewards(rewards, 3)
    assert filled[2].tolist() == [0.5, 0.0]
    assert filled[4].tolist() == [0.5, 0.5]
    assert torch.equal(filled[[0, 1, 3, 5]], rewards[[0, 1, 3, 5]])


def test_what_no_function_judges_stays_out_of_the_group() -> None:
    rewards = torch.tensor([[NAN, NAN], [1.0, 0.0]])
    assert neutral_rewards(rewards, 2)[0].isnan().all()
    alone = neutral_rewards(torch.tensor([[NAN, 1.0], [NAN, 0.0]]), 2)
    assert alone[:, 0].isnan().all()
    assert alone[:, 1].tolist() == [1.0, 0.0]


def test_a_comparison_beyond_its_limit_is_reported_once_with_the_limit() -> None:
    messages: list[str] = []
    accuracy = Accuracy()
    count = UnjudgedCount(
        ["accuracy"], lambda _event, **fields: messages.append(fields["message"]), [accuracy]
    )
    try:
        scores = accuracy([r"\boxed{9^{9^{9^{9}}}}"], solution=["5"])
        assert scores == [None]
        assert dict(accuracy.reached_limits()) == {"processor time": 1}
    finally:
        accuracy.close()
    for _ in range(2):
        count.add(torch.tensor([[NAN]]))
    (limit,) = [message for message in messages if "took" in message]
    assert "took more than 2.0 s of processor time" in limit
    assert "counts as not judged" in limit


def test_answers_that_are_not_judged_are_counted_and_reported_once() -> None:
    messages: list[str] = []
    count = UnjudgedCount(
        ["accuracy", "format"], lambda _event, **fields: messages.append(fields["message"])
    )
    judged = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert count.add(judged) == {}
    assert count.add(torch.tensor([[NAN, 1.0], [0.0, 1.0]])) == {"accuracy": 0.5}
    assert count.add(judged) == {"accuracy": 0.0}
    assert len(messages) == 1
    assert "accuracy does not judge 1 of 2 answers" in messages[0]
