"""Progress display of a quantization: layers as they finish, then sizes and perplexities."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, model_done_lines
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def layer_lines(event: Event) -> list[str]:
    """Return how many layers are quantized."""
    progress = f"{event['done']}/{event['of']}"
    if event.get("unit") == "tensor":
        return [text(f"  tensor {progress}", f"  第 {progress} 个张量")]
    return [text(f"  layer {progress}", f"  第 {progress} 层")]


def conversion_lines(event: Event) -> list[str]:
    """Return how much of the file is written."""
    done, total = size(event["done"]), size(event["of"])
    return [text(f"  {done} of {total}", f"  {done} / {total}")]


def result_lines(event: Event) -> list[str]:
    """Return the size and the perplexity before and after."""
    before, after = size(event["bytes_before"]), size(event["bytes_after"])
    expected, share = size(event["bytes_expected"]), event["share"]
    change = f"{event['perplexity_before']:.4g} -> {event['perplexity_after']:.4g}"
    ratio, limit = f"{event['perplexity_ratio']:.4f}", f"{event['max_perplexity_ratio']:g}"
    return [
        text(
            f"  weights {before} -> {after} ({share:.0%}; {expected} expected), "
            f"{event['layers']} layers {event['described']}",
            f"  权重 {before} -> {after}（{share:.0%}；预期 {expected}），"
            f"{event['layers']} 层 {event['described']}",
        ),
        text(
            f"  perplexity {change} on {event['tokens']:,} held-out tokens: x {ratio} "
            f"(limit {limit})",
            f"  困惑度 {change}（留出的 {event['tokens']:,} 个 token）：{ratio} 倍（上限 {limit}）",
        ),
    ]


DISPLAY = TaskDisplay(
    {
        events.CONVERTING: conversion_lines,
        events.QUANTIZING: layer_lines,
        events.QUANTIZED: result_lines,
        events.DONE: model_done_lines,
    }
)
