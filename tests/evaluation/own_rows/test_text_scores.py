"""Scores of texts against the libraries' values and closed forms."""

from __future__ import annotations

import random

import pytest

from swiftbox.evaluation import bootstrap
from swiftbox.evaluation.own_rows.text_scores import (
    bleu_counts,
    bleu_tokenizer,
    chrf,
    common_subsequence,
    exact_match,
    rouge_l,
)

PAIRS = (
    ("the cat sat on the mat", "the cat was on the mat"),
    ("Hello, world! It's 5.2", "hello world its 5.2"),
    ("x", "y z"),
)


def test_rouge_l_is_that_of_rouge_score_for_english() -> None:
    # rouge_score 0.1.2, RougeScorer(["rougeL"]), which is not maintained and keeps only ASCII
    expected = [0.8333333333333334, 0.7272727272727272, 0.0]
    assert [rouge_l(*pair) for pair in PAIRS] == pytest.approx(expected)


def test_chinese_answers_are_compared_by_characters() -> None:
    # 今 天 天 气 不 错 / 今 天 天 气 很 好: four of six on both sides
    assert rouge_l("今天天气很好。", "今天天气不错") == pytest.approx(4 / 6)
    assert rouge_l("我用Python写", "我用 python 写") == 1


def test_equal_chinese_answers_have_full_scores() -> None:
    pytest.importorskip("sacrebleu")
    same = ["今天天气很不错", "好的，没有问题。"]
    assert bleu_counts(same, same, bleu_tokenizer(same)).total() == pytest.approx(1)
    assert [rouge_l(line, line) for line in same] == [1, 1]


def test_the_longest_common_subsequence_is_that_of_the_table() -> None:
    chooser = random.Random(0)
    for _ in range(50):
        first, second = (
            [chooser.choice("abc") for _ in range(chooser.randrange(40))] for _ in range(2)
        )
        lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, left in enumerate(first):
            for j, right in enumerate(second):
                longer = max(lengths[i][j + 1], lengths[i + 1][j])
                lengths[i + 1][j + 1] = lengths[i][j] + 1 if left == right else longer
        assert common_subsequence(first, second) == lengths[-1][-1]


def test_exact_match_ignores_case_width_and_white_space_alone() -> None:
    assert exact_match(" Ｙｅｓ,\n it  is", "yes, IT is") == 1
    assert exact_match("yes", "yes.") == 0


@pytest.mark.parametrize("tokenizer", ["13a", "zh"])
def test_bleu_and_chrf_are_those_of_sacrebleu(tokenizer: str) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    answers, expected = map(list, zip(*PAIRS, strict=True))
    counts = bleu_counts(answers, expected, tokenizer)
    corpus = metrics.BLEU(tokenize=tokenizer).corpus_score(answers, [expected]).score
    assert 100 * counts.total() == pytest.approx(corpus, abs=1e-9)
    sentence = metrics.CHRF().sentence_score(answers[0], [expected[0]]).score
    assert 100 * chrf(answers[0], expected[0]) == pytest.approx(sentence)


def test_bleu_splits_the_words_of_each_script() -> None:
    assert bleu_tokenizer(["an answer", "with 一 word"]) == "13a"
    assert bleu_tokenizer(["今天天气很好", "ok"]) == "zh"
    assert bleu_tokenizer(["今日は天気がいい"]) == "char"
    assert bleu_tokenizer([""]) == "13a"


def test_a_bootstrap_of_means_agrees_with_their_standard_error() -> None:
    chooser = random.Random(1)
    values = [chooser.random() for _ in range(400)]
    counts = [[value, 1.0] for value in values]
    draws = bootstrap.resampled(counts, lambda sums: sums[0] / sums[1])
    mean = sum(values) / len(values)
    error = (sum((value - mean) ** 2 for value in values) / len(values) ** 2) ** 0.5
    between = bootstrap.interval(mean, draws)
    # The quantile of 1,000 draws has a standard error of about 0.08 of the mean's: 0.3 is four.
    assert between.high - mean == pytest.approx(1.96 * error, abs=0.3 * error)
    assert mean - between.low == pytest.approx(1.96 * error, abs=0.3 * error)
    assert draws == bootstrap.resampled(counts, lambda sums: sums[0] / sums[1])


def test_equal_scores_do_not_differ_and_a_shift_does() -> None:
    draws = bootstrap.resampled([[value, 1.0] for value in range(9)], lambda sums: sums[0] / 9)
    equal = bootstrap.paired((4.0, 4.0), draws, draws)
    assert (equal.interval.low, equal.interval.high, equal.p_value) == (0, 0, 1)
    shifted = bootstrap.paired((4.0, 5.0), draws, [draw + 1 for draw in draws])
    assert shifted.is_significant
