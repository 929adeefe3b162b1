"""Losses that are not finite: found on the device, read when a step is logged, and explained.

Reading every loss would make the device wait at each step. They are kept on it instead, and read
together before anything that depends on the weights: a log, an evaluation, a checkpoint, the model.
What an infinite loss did to the weights in the meantime is therefore never written.

The cause is broken weights, the number type, or a learning rate that is too high. Before the first
update of a process the learning rate has changed nothing, so it is not the cause; that update is
checked before it changes the weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from swiftbox.errors import RunError
from swiftbox.language import text

MOST_UNREAD = 1000
"""Updates after which losses are read although nothing is logged, so that they do not pile up."""


class UnreadLosses:
    """The losses and gradient norms of the updates since the last reading."""

    def __init__(self) -> None:
        self._updates: list[tuple[int, torch.Tensor, torch.Tensor | None]] = []

    def add(self, steps: int, loss: torch.Tensor, norm: torch.Tensor | None = None) -> None:
        """Keep the loss of an update, and the norm of its gradient if that must be finite.

        `steps` is the number of updates that were complete before it. The loss may be summed over
        several updates: the first sum that is not finite belongs to the first such update.
        """
        self._updates.append((steps, loss, norm))

    @property
    def are_many(self) -> bool:
        """Whether it is time to read them."""
        return len(self._updates) >= MOST_UNREAD

    def require_finite(self, model: Any, first_steps: int | None) -> None:
        """Raise RunError for the first loss or norm that is not finite; forget what was read."""
        updates, self._updates = self._updates, []
        if not updates:
            return
        zero = torch.zeros_like(updates[0][1])
        pairs = [
            torch.stack([loss, zero if norm is None else norm.to(loss)])
            for _, loss, norm in updates
        ]
        for (steps, *_), (loss, norm) in zip(updates, torch.stack(pairs).tolist(), strict=True):
            if not math.isfinite(loss):
                raise infinite_loss(model, loss, steps, first_steps)
            if not math.isfinite(norm):
                raise _infinite_norm(norm, steps)


def infinite_loss(model: Any, loss: float, steps: int, first_steps: int | None) -> RunError:
    """Return the error for a loss that is not finite.

    Args:
        model: The network that is trained.
        loss: Infinity or NaN.
        steps: The updates that are complete.
        first_steps: Those that were complete when this process began to train.
    """
    is_first = steps == first_steps
    broken = _broken_weight(model) if is_first else None
    message = text(f"the loss is {loss} at step {steps + 1}", f"第 {steps + 1} 步的损失为 {loss}")
    if broken is not None:
        message += text(
            f": the weights {broken} were not finite before it",
            f"：此前权重 {broken} 已含无穷大或 NaN",
        )
    return RunError(message, hint=_hint(is_first=is_first, is_broken=broken is not None))


def _infinite_norm(norm: float, steps: int) -> RunError:
    message = text(
        f"the norm of the gradient is {norm} at step {steps + 1}",
        f"第 {steps + 1} 步的梯度范数为 {norm}",
    )
    return RunError(message, hint=_hint(is_first=False, is_broken=False))


def _broken_weight(model: Any) -> str | None:
    """Return the first of the model's weights that holds infinity or NaN."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            return str(name)
    return None


def _hint(*, is_first: bool, is_broken: bool) -> str:
    if is_broken:
        return text(
            "the files of the model or adapter are damaged: download them again, or use another "
            "model",
            "模型或适配器的文件已损坏：请重新下载，或换用其他模型",
        )
    if is_first:
        return text(
            "set dtype: float32 (or bfloat16 instead of float16); no update was made yet, so the "
            "learning rate is not the cause",
            "请设 dtype: float32（或用 bfloat16 代替 float16）；此时尚未更新，与学习率无关",
        )
    return text(
        "lower learning_rate, or set dtype: float32 (or bfloat16 instead of float16); "
        "the last checkpoint was saved before this step",
        "减小 learning_rate，或设 dtype: float32（或用 bfloat16 代替 float16）；"
        "最后的检查点保存于此步之前",
    )
