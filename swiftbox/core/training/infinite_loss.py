"""Why a loss is not finite: broken weights, the number type, or a learning rate that is too high.

Before the first update of a process the learning rate has changed nothing, so it is not the cause.
"""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.errors import RunError
from swiftbox.language import text


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
