"""Scores of an answer against the row's answer: exact match, ROUGE-L, BLEU and chrF.

Exact match compares after NFKC, in lower case, with each run of white space as one space. ROUGE-L
is the F1 of the longest common subsequence (Lin 2004) of words, where each Chinese, Japanese or
Thai character is a word: libraries that keep only ASCII give such answers 0. BLEU and chrF are
sacrebleu's. Shapes: N rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

SACREBLEU = "sacrebleu"

OF_SACREBLEU = ("bleu", "chrf")
"""Metrics that this package computes."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3040-\u30ff\u31f0-\u31ff"
WITHOUT_SPACES = HAN + KANA + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Characters of scripts that write no spaces: Chinese, Japanese, Thai, Lao, Burmese, Khmer."""

WORD = re.compile(rf"[{WITHOUT_SPACES}]|[^\W_{WITHOUT_SPACES}]+")

MANY = 0.3
"""A larger share of such characters among the letters decides how BLEU splits words."""

BLEU_ORDER = 4


def normalized(content: str) -> str:
    """Return a text as exact match compares it."""
    return " ".join(unicodedata.normalize("NFKC", content).casefold().split())


def exact_match(answer: str, expected: str) -> float:
    """Return 1 if both texts are equal after normalization, else 0."""
    return float(normalized(answer) == normalized(expected))


def split_words(content: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return WORD.findall(unicodedata.normalize("NFKC", content).casefold())


def rouge_l(answer: str, expected: str) -> float:
    """Return the F1 of the longest common subsequence of words; 0 if a text has no word."""
    first, second = split_words(answer), split_words(expected)
    if not first or not second:
        return 0.0
    common = common_subsequence(first, second)
    return 2 * common / (len(first) + len(second))


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by bits (Hyyro 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everything
    return len(first) - row.bit_count()


def bleu_tokenizer(texts: Sequence[str]) -> str:
    """Return sacrebleu's tokenizer for texts: zh, char (scripts without spaces), or 13a."""
    letters = [letter for content in texts for letter in content if letter.isalpha()]
    together = "".join(letters)
    kana = len(re.findall(f"[{KANA}]", together))
    unspaced = len(re.findall(f"[{WITHOUT_SPACES}]", together))
    if not letters or unspaced < MANY * len(letters):
        return "13a"
    han = len(re.findall(f"[{HAN}]", together))
    return "zh" if not kana and han == unspaced else "char"


def has_sacrebleu() -> bool:
    """Tell whether the package that computes BLEU and chrF is installed."""
    return find_spec(SACREBLEU) is not None


def chrf(answer: str, expected: str) -> float:
    """Return sacrebleu's sentence chrF (chrF2) as a share."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(answer, [expected]).score) / 100


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU counts of N rows: matching n-grams, n-grams, and the lengths of both texts."""

    rows: Sequence[Sequence[int]]
    """Each has BLEU_ORDER matches, BLEU_ORDER totals, the answer's length, the reference's."""

    def score(self, sums: Sequence[float]) -> float:
        """Return the corpus BLEU of summed counts as a share."""
        from sacrebleu.metrics.bleu import BLEU

        counts = [round(count) for count in sums]
        matches, totals = counts[:BLEU_ORDER], counts[BLEU_ORDER : 2 * BLEU_ORDER]
        score: Any = BLEU.compute_bleu(matches, totals, counts[-2], counts[-1], smooth_method="exp")
        return float(score.score) / 100

    def total(self) -> float:
        """Return the corpus BLEU of all rows."""
        return self.score([sum(column) for column in zip(*self.rows, strict=True)])


def bleu_counts(answers: Sequence[str], expected: Sequence[str], tokenizer: str) -> BleuCounts:
    """Count the n-grams of N answers against their references."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize=tokenizer, effective_order=True)
    scores: list[Any] = [
        metric.sentence_score(answer, [reference])
        for answer, reference in zip(answers, expected, strict=True)
    ]
    return BleuCounts(
        [(*score.counts, *score.totals, score.sys_len, score.ref_len) for score in scores]
    )
