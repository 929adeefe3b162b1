"""How long a training takes: its tokens divided by the speed, with an uncertainty range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import Lengths
from swiftbox.fit.speed import Speed
from swiftbox.fit.teacher import relative_size_of_teacher
from swiftbox.formatting import count, duration
from swiftbox.language import text

REFERENCE = {"full": 4 / 3, "adapter": 3 / 2, "quantized": 3 / 2}
"""Relative work with an additional forward pass of a reference policy (2 N per token)."""


@dataclass(frozen=True)
class DurationEstimate:
    """Tokens that pass through the model, seconds of training, and the uncertainty factor."""

    tokens: float
    seconds: float
    uncertainty: float
    guessed: bool = False
    """Whether row lengths are assumed, because a dataset is not on this machine yet."""

    def line(self) -> str:
        """Describe it in one line."""
        factors = (1, 1 / self.uncertainty, self.uncertainty)
        typical, least, most = (approximate(self.seconds * factor) for factor in factors)
        tokens = count(self.tokens)
        basis = text("estimated from the row lengths", "由数据长度估计")
        if self.guessed:
            basis = text(
                "assuming typical lengths for rows on the hub",
                "尚未下载的数据按常见长度估计",
            )
        return text(
            f"time: about {typical} ({least} to {most}) for about {tokens} tokens, {basis}",
            f"时间：约 {typical}（{least}至 {most}），约 {tokens} 个 token（{basis}）",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"tokens": round(self.tokens), "seconds": round(self.seconds)}


def training_duration(
    config: TrainConfig, lengths: Lengths, speed: Speed, kind: str, processes: int
) -> DurationEstimate | None:
    """Return how long a settled training takes; None if it generates answers itself."""
    if config.generates_answers or config.samples_answers or not lengths.taken:
        return None
    max_length = None if config.splits_long_rows or config.packing else config.max_length
    held_out_share = (
        config.val_size if config.val_size < 1 else min(1.0, config.val_size / lengths.taken)
    )
    epoch = lengths.tokens(max_length) * (1 - held_out_share)
    tokens = epoch * config.num_train_epochs
    if config.max_steps:
        rows = config.micro_batch * config.gradient_accumulation_steps * processes
        tokens_per_row = (
            config.max_length if config.packing else lengths.tokens(max_length) / lengths.taken
        )
        tokens = rows * config.max_steps * tokens_per_row
    work = 1.0
    if config.compares_with_reference:
        is_precomputed = getattr(config, "precompute_ref_log_probs", "false") == "true"
        work += (REFERENCE[kind] - 1) / (
            max(1.0, config.num_train_epochs) if is_precomputed else 1.0
        )
    work += (REFERENCE[kind] - 1) * relative_size_of_teacher(config)
    return DurationEstimate(tokens, tokens * work / speed.tokens_per_s, speed.uncertainty)


def approximate(seconds: float) -> str:
    """Write an estimated time: in seconds up to a minute and a half, then in whole minutes."""
    return duration(seconds if seconds < 90 else 60 * round(seconds / 60))
