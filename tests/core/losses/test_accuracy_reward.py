"""The reward accuracy: which answers are right, wrong or not judged, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from swiftbox.core.losses.math_equality import equal_answers
from swiftbox.core.losses.reward_functions import Accuracy
from swiftbox.core.losses.stated_answers import solution_answer, stated_answer

RIGHT, WRONG, NOT_JUDGED = 1.0, 0.0, None

CASES = [
    (r"\boxed{\frac{1}{2}}", r"\boxed{\frac{3}{2}}", WRONG),
    (r"\boxed{\frac{1}{2}}", r"\boxed{0.5}", RIGHT),
    (r"\boxed{\frac{1}{2}}", r"\boxed{\frac12}", RIGHT),
    (r"\boxed{x^{2}+1}", r"\boxed{x^{3}+1}", WRONG),
    (r"\boxed{(1,2)}", r"\boxed{(1, 2)}", RIGHT),
    (r"\boxed{10\%}", r"\boxed{10\%}", RIGHT),
    ("4", "The answer is 5. Step 4", WRONG),
    # fractions, sets, intervals, inequalities
    (r"\frac{1}{2}", r"so it is \boxed{\frac{\sqrt{4}}{\sqrt{16}}}", RIGHT),
    (r"\{1, 2, 3\}", r"$\boxed{\{3, 2, 1\}}$", RIGHT),
    ("[1,2)", r"\boxed{[1,2]}", WRONG),
    (r"(-\infty, 3)", r"\boxed{x<3}", RIGHT),
    # percent, units, decimals, powers of ten
    ("10%", r"\boxed{0.1}", RIGHT),
    ("5 cm", r"\boxed{5\text{ cm}}", RIGHT),
    ("5 cm", r"\boxed{5}", RIGHT),
    ("5 cm", r"\boxed{5\text{ m}}", NOT_JUDGED),
    ("3.14", r"\boxed{3.15}", WRONG),
    ("1000000", "The answer is 1 million.", NOT_JUDGED),
    ("3 million", r"\boxed{3\text{ million}}", RIGHT),
    ("30000", "答案：3万", NOT_JUDGED),
    ("1e5", r"\boxed{100{,}000}", RIGHT),
    # very small numbers, which math-verify rounds to zero, and other bases
    (r"\frac{1}{2004!}", r"\boxed{\frac{1}{2006!}}", WRONG),
    (r"\frac{1}{2^{99}}", r"\boxed{2^{-99}}", RIGHT),
    (r"\frac{2^{2005}+1}{3 \cdot 2^{2006}}", r"\boxed{\frac{1}{3 \cdot 2^{2006}}}", WRONG),
    ("(1e-7, 2)", r"\boxed{(2 \times 10^{-7}, 2)}", WRONG),
    ("x = 1e-7", r"\boxed{x = 2 \times 10^{-7}}", WRONG),
    (r"\frac{1}{3}", r"\boxed{0.3333333}", RIGHT),
    ("101_2", r"\boxed{101_{3}}", WRONG),
    ("101_2", r"\boxed{12_{3}}", RIGHT),
    # text, choices, Chinese
    (r"\text{(B)}", r"\boxed{B}", RIGHT),
    (r"\text{(B)}", r"\boxed{C}", WRONG),
    (r"\text{Paris}", r"\boxed{Paris}", RIGHT),
    ("Paris", r"\boxed{London}", WRONG),
    ("4", r"\boxed{\text{four}}", NOT_JUDGED),
    ("B", "The correct answer is (B).", RIGHT),
    ("B", "Answer: C", WRONG),
    ("42", "所以答案是 42。", RIGHT),
    ("42", "答案为：$43$", WRONG),
    ("５米", "答案：5米", RIGHT),
    # several boxes, nested braces, a box that was cut off
    ("7", r"First \boxed{3}, no. Finally \boxed{7}", RIGHT),
    ("3", r"First \boxed{3}, no. Finally \boxed{7}", WRONG),
    (r"\{3, 7\}", r"\boxed{3} and \boxed{7}", RIGHT),
    (r"\frac{a^{2}}{b}", r"\boxed{\dfrac{a^{2}}{b^{1}}}", RIGHT),
    ("2", r"First \boxed{2}, so \boxed{\frac{2}{", NOT_JUDGED),
    # nothing is stated
    ("4", "", NOT_JUDGED),
    ("4", "I do not know. Step 4", NOT_JUDGED),
    ("4", "The answer is wrong. 4", NOT_JUDGED),
    ("4", r"<think>\boxed{4}", NOT_JUDGED),
    ("We add both sides. That is all.", r"\boxed{3}", NOT_JUDGED),
    (None, r"\boxed{3}", NOT_JUDGED),
    # other forms
    ("#### 72", "<think>12</think> The answer is 72 apples.", RIGHT),
    ("He has 3 + 4 = 7.\n#### 7", "<answer>7</answer>", RIGHT),
    ("x = 5", r"\boxed{5}", RIGHT),
    ("$18", "The answer is $18.", RIGHT),
    (3, "3", RIGHT),
    (["1/2"], r"\boxed{.5}", RIGHT),
]  # fmt: skip


@pytest.mark.parametrize(("solution", "completion", "reward"), CASES)
def test_an_answer_gets_its_reward(solution: Any, completion: str, reward: float | None) -> None:
    expected, answer = solution_answer(solution), stated_answer(completion)
    verdict = equal_answers(expected, answer) if expected and answer else None
    assert (None if verdict is None else float(verdict)) == reward


@pytest.fixture(scope="module")
def accuracy() -> Iterator[Accuracy]:
    reward = Accuracy()
    yield reward
    reward.close()


def test_answers_are_compared_in_the_order_of_the_completions(accuracy: Accuracy) -> None:
    completions = [[{"role": "assistant", "content": rf"\boxed{{{number}}}"}] for number in "213"]
    assert accuracy(completions, solution=["1", "1", None]) == [0.0, 1.0, None]


def test_a_solution_without_an_answer_gives_way_to_the_column_answer(accuracy: Accuracy) -> None:
    columns = {"solution": ["We add both. That is all."], "answer": ["204"]}
    assert accuracy([r"\boxed{204}"], **columns) == [1.0]


def test_an_answer_that_would_take_forever_is_not_judged(accuracy: Accuracy) -> None:
    completions = [r"\boxed{9^{9^{9^{9}}}}", r"\boxed{2}"]
    assert accuracy(completions, solution=["5", "2"]) == [None, 1.0]


@pytest.mark.parametrize(
    "content",
    ["<answer>" * 30_000, r"\boxed{" * 20_000 + "}" * 20_000, r"answer is \[" * 20_000,
     "answer: " + "1," * 50_000, r"\boxed{1} and " * 20_000, "#### " + "1 " * 100_000],
)  # fmt: skip
def test_a_long_text_is_searched_in_time_that_grows_with_its_length(content: str) -> None:
    start = time.process_time()
    stated_answer(content)
    solution_answer(content)
    assert time.process_time() - start < 5
