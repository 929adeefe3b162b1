"""How a report calls the metrics of own rows, and writes their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.language import text

LOSS = "loss"


def metric_name(metric: str) -> str:
    """Return the name of a metric."""
    names = {
        "loss": text("loss", "损失"),
        "exact_match": text("exact match", "完全一致"),
        "rouge_l": "ROUGE-L",
        "bleu": "BLEU",
        "chrf": "chrF",
        "win_rate": text("win rate", "胜率"),
    }
    return names[metric]


def value_text(metric: str, value: float) -> str:
    """Write a value: a loss in nats per token, others in percent."""
    return f"{value:.4f}" if metric == LOSS else f"{100 * value:.1f}"


def interval_text(row: Mapping[str, Any], metric: str) -> str:
    """Write an interval."""
    return f"{value_text(metric, row['low'])}-{value_text(metric, row['high'])}"


def difference_text(row: Mapping[str, Any]) -> str:
    """Write a difference with its interval."""
    metric, to = row["metric"], text("to", "至")
    scale, digits = (1, 3) if metric == LOSS else (100, 1)
    value, low, high = (f"{scale * row[key]:+.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} {to} {high})"


def is_gain(row: Mapping[str, Any]) -> bool:
    """Tell whether a difference is for the better: a loss should fall."""
    return bool((row["value"] < 0) == (row["metric"] == LOSS))


def verdict_word(row: Mapping[str, Any]) -> str:
    """Say whether a difference is significant, and in which direction."""
    if not row["told"]:
        return "~"
    return text("better", "更好") if is_gain(row) else text("worse", "更差")


def judged_word(row: Mapping[str, Any]) -> str:
    """Say whether a win rate differs from one half."""
    if not row["told"]:
        return "~"
    return text("better", "更好") if row["value"] > 0.5 else text("worse", "更差")


def judged_counts(row: Mapping[str, Any]) -> str:
    """Describe the outcomes of a comparison, with what the judge contradicted or left unclear."""
    ties = row["tie"] + row["flipped"] + row["same"]
    parts = [
        text(
            f"{row['win']} won, {ties} tied, {row['loss']} lost",
            f"胜 {row['win']}、平 {ties}、负 {row['loss']}",
        )
    ]
    if row["flipped"]:
        parts.append(
            text(
                f"{row['flipped']} of the ties changed with the order",
                f"平局中 {row['flipped']} 个随先后次序改变",
            )
        )
    if row["same"]:
        parts.append(text(f"{row['same']} answers were equal", f"{row['same']} 个回答相同"))
    if row["unread"]:
        parts.append(
            text(
                f"{row['unread']} without a readable verdict, not counted",
                f"{row['unread']} 个裁决无法识别，未计入",
            )
        )
    chosen, decided = row["first"]
    if decided:
        parts.append(
            text(
                f"the first answer was chosen in {chosen} of {decided} verdicts",
                f"{decided} 次裁决中 {chosen} 次选择在前的回答",
            )
        )
    return text("; ", "；").join(parts)
