"""Supervised fine-tuning: learns the assistant's turns of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.likelihood import LabelSmoothingField
from swiftbox.config.train import TrainConfig
from swiftbox.methods.method import Method
from swiftbox.methods.pt import collate, count, loss


class SftConfig(LabelSmoothingField, TrainConfig):
    """Options of `stage: sft`."""

    can_pack: ClassVar[bool] = True

    stage: Literal["sft"] = setting(
        "sft",
        label_zh="训练阶段",
        en="sft: learn to answer as in the examples",
        zh="sft：按示例学习回答",
        section="method",
        essential=True,
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Render conversations with the tokenizer's template; label the assistant's turns."""
    from swiftbox.core.data.encode import encode_conversations

    return list(encode_conversations(examples, tokenizer, config))


SFT = Method("sft", SftConfig, True, encode, collate, loss, count)
