"""A quantization as people watch it: the layers as they are done, then sizes and perplexities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.runs import events


def lines_of(event: Mapping[str, Any]) -> list[str]:
    """Return the lines of a `quantizing` or `quantized` event."""
    if event["event"] == events.QUANTIZING:
        at = f"{event['done']}/{event['of']}"
        return [text(f"  layer {at}", f"  第 {at} 层")]
    before, after = size(event["bytes_before"]), size(event["bytes_after"])
    expected, share = size(event["bytes_expected"]), event["share"]
    loss = f"{event['perplexity_before']:.4g} -> {event['perplexity_after']:.4g}"
    ratio, limit = f"{event['perplexity_ratio']:.4f}", f"{event['max_perplexity_ratio']:g}"
    return [
        text(
            f"  weights {before} -> {after} ({share:.0%}; {expected} expected), "
            f"{event['layers']} layers {event['described']}",
            f"  权重 {before} -> {after}（{share:.0%}；预期 {expected}），"
            f"{event['layers']} 层 {event['described']}",
        ),
        text(
            f"  perplexity {loss} on {event['tokens']:,} held-out tokens: x {ratio} "
            f"(limit {limit})",
            f"  困惑度 {loss}（留出的 {event['tokens']:,} 个 token）：{ratio} 倍（上限 {limit}）",
        ),
    ]
