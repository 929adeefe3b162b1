"""What the answers and losses on own rows show: scores, differences, counts. Shapes: N rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swiftbox.evaluation import bootstrap
from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.intervals import Difference, Interval, difference, score
from swiftbox.evaluation.own_rows.row_scores import CUT
from swiftbox.evaluation.own_rows.text_scores import (
    BLEU_ORDER,
    BleuCounts,
    bleu_counts,
    bleu_tokenizer,
)
from swiftbox.language import text

Row = Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredCandidate:
    """What was measured of a candidate: its losses, and its answers with their scores."""

    candidate: Candidate
    losses: Row
    """Empty if the loss was not measured."""
    rows: Sequence[Row]
    """Empty without answers."""
    tokenizer: str = "13a"
    """How BLEU splits words."""

    @property
    def compared(self) -> list[Row]:
        """Return the rows that have an answer to compare with."""
        return [row for row in self.rows if row["expected"]]

    @cached_property
    def token_losses(self) -> list[tuple[float, float]]:
        """The summed loss and the number of learned tokens of each row."""
        return list(zip(self.losses["sums"], self.losses["counts"], strict=True))

    @cached_property
    def bleu(self) -> BleuCounts:
        """The n-gram counts of all rows."""
        rows = self.compared
        answers, expected = ([row[key] for row in rows] for key in ("answer", "expected"))
        return bleu_counts(answers, expected, self.tokenizer)

    @cached_property
    def loss_draws(self) -> list[float]:
        """The losses of resampled rows."""
        return bootstrap.resampled(self.token_losses, _mean_loss)

    @cached_property
    def bleu_draws(self) -> list[float]:
        """The BLEU of resampled rows."""
        return bootstrap.resampled(self.bleu.rows, self.bleu.score)

    def interval(self, metric: str) -> Interval:
        """Return the score of a metric with its interval."""
        if metric == "loss":
            return bootstrap.interval(self.losses["loss"], self.loss_draws)
        if metric == "bleu":
            return bootstrap.interval(self.bleu.total(), self.bleu_draws)
        means = score([row[metric] for row in self.compared])
        return Interval(means.value, max(0.0, means.low), min(1.0, means.high))

    def has(self, metric: str) -> bool:
        """Tell whether a metric was measured."""
        return bool(self.losses) if metric == "loss" else bool(self.compared)

    def against(self, baseline: MeasuredCandidate, metric: str) -> Difference:
        """Return the difference from a baseline on the same rows."""
        values = (baseline.interval(metric).value, self.interval(metric).value)
        if metric == "loss":
            return bootstrap.paired(values, baseline.loss_draws, self.loss_draws)
        if metric == "bleu":
            return bootstrap.paired(values, baseline.bleu_draws, self.bleu_draws)
        first, second = ([row[metric] for row in side.compared] for side in (baseline, self))
        return difference(first, second)


def _mean_loss(sums: Sequence[float]) -> float:
    return sums[0] / sums[1] if sums[1] else math.nan


def tokenizer_of(rows: Sequence[Any]) -> str:
    """Return how BLEU splits the words of the rows."""
    return bleu_tokenizer([row.expected for row in rows])


def findings(measured: Sequence[MeasuredCandidate], metrics: Sequence[str]) -> dict[str, Any]:
    """Return scores, differences and counts; the first candidate is the baseline."""
    by_metric = [name for name in metrics if name != "win_rate"]
    scores, differences = [], []
    for metric in by_metric:
        having = [item for item in measured if item.has(metric)]
        scores += [_score_row(item, metric) for item in having]
        if having and having[0] is measured[0]:
            differences += [_difference_row(item, measured[0], metric) for item in having[1:]]
    return {
        "scores": scores,
        "differences": differences,
        "counts": [_counts(item) for item in measured if item.rows],
        "too_short": "bleu" in by_metric and _too_short(measured[0].compared),
    }


def _too_short(rows: Sequence[Row]) -> bool:
    """Tell whether no reference has the four words in a row that BLEU compares."""
    expected = [row["expected"] for row in rows]
    counts = bleu_counts(expected, expected, bleu_tokenizer(expected))
    return not any(row[2 * BLEU_ORDER - 1] for row in counts.rows)


def _score_row(item: MeasuredCandidate, metric: str) -> dict[str, Any]:
    interval = item.interval(metric)
    count = len(item.token_losses) if metric == "loss" else len(item.compared)
    row = {"candidate": item.candidate.name, "metric": metric, "count": count}
    return {**row, **_rounded(interval), **_perplexity(item, metric)}


def _perplexity(item: MeasuredCandidate, metric: str) -> dict[str, float]:
    if metric != "loss" or item.losses["smoothing"]:
        return {}
    return {"perplexity": round(math.exp(min(700.0, item.losses["loss"])), 6)}


def _rounded(interval: Interval) -> dict[str, float]:
    return {key: round(value, 6) for key, value in vars(interval).items()}


def _difference_row(
    item: MeasuredCandidate, baseline: MeasuredCandidate, metric: str
) -> dict[str, Any]:
    outcome = item.against(baseline, metric)
    return {
        "candidate": item.candidate.name,
        "against": baseline.candidate.name,
        "metric": metric,
        **_rounded(outcome.interval),
        "p": outcome.p_value,
        "gained": outcome.gained,
        "lost": outcome.lost,
        "told": outcome.is_significant,
        "method": outcome.method,
    }


def _counts(item: MeasuredCandidate) -> dict[str, Any]:
    rows = item.rows
    return {
        "candidate": item.candidate.name,
        "count": len(rows),
        "cut": sum(row["end"] == CUT for row in rows),
        "refused": sum(row["end"] == "refused" for row in rows),
        "empty": sum(not row["answer"] for row in rows),
        "no_reference": sum(not row["expected"] for row in rows),
        "tokens": sum(row.get("tokens") or 0 for row in rows),
    }


def remarks(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader needs to know to interpret the scores."""
    counts: Sequence[Mapping[str, Any]] = results["counts"]

    def listed(key: str) -> str:
        rows = (row for row in counts if row[key])
        return ", ".join(f"{row['candidate']} {row[key]}/{row['count']}" for row in rows)

    if names := listed("cut"):
        yield text(
            f"own rows: answers cut off at max_tokens are scored as they are ({names})",
            f"自有数据：在 max_tokens 处截断的回答按原样计分（{names}）",
        )
    if names := listed("refused"):
        yield text(
            f"own rows: prompts that the server refused count as empty answers ({names}): set "
            "max_model_len higher",
            f"自有数据：服务拒绝的提示按空回答计（{names}）：请增大 max_model_len",
        )
    if names := listed("empty"):
        yield text(f"own rows: empty answers ({names})", f"自有数据：空回答（{names}）")
    if results["too_short"]:
        yield text(
            "own rows: BLEU compares four words in a row, which no expected answer has: it says "
            "little here; see exact match, ROUGE-L and chrF",
            "自有数据：BLEU 比较连续四个词，而参考回答都不足四个词，在此意义不大；"
            "请看完全一致、ROUGE-L 与 chrF",
        )
    if counts and (missing := counts[0]["no_reference"]):
        yield text(
            f"own rows: {missing} of {counts[0]['count']} have no text to compare with and only "
            "count for loss and judge",
            f"自有数据：{counts[0]['count']} 行中有 {missing} 行没有可比较的文本，只用于损失与评审",
        )
