"""How long a whole training takes: its tokens against the speed, with the range that is sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import Lengths
from swiftbox.fit.speed import Speed
from swiftbox.language import text

COMPARED = ("dpo", "kto")
"""Stages that hold the policy against a reference."""

REFERENCE = {"full": 4 / 3, "adapter": 3 / 2, "quantized": 3 / 2}
"""Work with a second, forward pass (2 N a token) of a reference policy, relative to without."""


@dataclass(frozen=True)
class Duration:
    """Tokens that pass through the model, seconds of training, and the factor either way."""

    tokens: float
    seconds: float
    uncertainty: float
    guessed: bool = False
    """Whether the length of rows is a guess, of a dataset that is not here yet."""

    def line(self) -> str:
        """Say it for people."""
        amount, least, most = (
            spoken(self.seconds * factor) for factor in (1, 1 / self.uncertainty, self.uncertainty)
        )
        tokens = of_tokens(self.tokens)
        how = text("estimated from the length of the rows", "由数据长度估计")
        if self.guessed:
            how = text("rows on the hub taken as usually long", "尚未下载的数据按常见长度估计")
        return text(
            f"time: about {amount} ({least} to {most}) for some {tokens} tokens, {how}",
            f"时间：约 {amount}（{least} 至 {most}），约 {tokens} 个 token（{how}）",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return {"tokens": round(self.tokens), "seconds": round(self.seconds)}


def training_duration(
    config: TrainConfig, lengths: Lengths, speed: Speed, kind: str, processes: int
) -> Duration | None:
    """Return how long a settled training takes; None where answers are generated meanwhile."""
    values = config.model_dump()
    if values["stage"] == "grpo" or not lengths.taken:
        return None
    cap = None if values["stage"] == "pt" or config.packing else config.max_length
    held_out = config.val_size if config.val_size < 1 else min(1.0, config.val_size / lengths.taken)
    epoch = lengths.tokens(cap) * (1 - held_out)
    tokens = epoch * config.num_train_epochs
    if config.max_steps:
        rows = config.per_device_train_batch_size * config.gradient_accumulation_steps * processes
        each = config.max_length if config.packing else lengths.tokens(cap) / lengths.taken
        tokens = rows * config.max_steps * each
    work = 1.0
    if values["stage"] in COMPARED and not values.get("reference_free"):
        once = values.get("precompute_ref_log_probs") in (True, "true")
        work += (REFERENCE[kind] - 1) / (max(1.0, config.num_train_epochs) if once else 1.0)
    return Duration(tokens, tokens * work / speed.tokens_per_s, speed.uncertainty)


def spoken(seconds: float) -> str:
    """Write a time in at most two units: 40 s, 12 min, 2 h 10 min, 3 d 4 h."""
    if seconds < 90:
        return text(f"{max(1, round(seconds))} s", f"{max(1, round(seconds))} 秒")
    minutes = round(seconds / 60)
    if minutes < 60:
        return text(f"{minutes} min", f"{minutes} 分钟")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return text(f"{hours} h {minutes} min", f"{hours} 小时 {minutes} 分")
    days, hours = divmod(hours, 24)
    return text(f"{days} d {hours} h", f"{days} 天 {hours} 小时")


def of_tokens(count: float) -> str:
    """Write a number of tokens in two or three figures."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
