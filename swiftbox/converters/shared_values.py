"""Values with one meaning in several tools: templates, reference models, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swiftbox.config.aliases import STAGES
from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    adopted,
    no_effect,
    refused,
    unsupported,
)
from swiftbox.language import text

MULTIMODAL = (
    "images, video and audio are not supported here",
    "此处不训练图像、视频与音频",
)
MULTIMODAL_HINT = (
    "use a text model and text data: delete this key and set model=... dataset=...",
    "请改用文本模型与文本数据：删除该键并给出 model=... dataset=...",
)


def template(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the name of a chat template: swiftbox uses the tokenizer's template."""
    name = str(value)
    if name in ("chatml", "auto") or name.endswith(".jinja"):
        path = foreign.folder / name
        return adopted(template=str(path) if path.is_file() else name)
    if name.startswith("tokenizer_default"):
        return adopted(template="auto")
    return adopted(
        text(
            f"{name}: the tokenizer's own template is used, so that what trains is what serves",
            f"{name}：使用分词器自带的模板，训练与推理保持一致",
        ),
        template="auto",
    )


def no_stage(value: Any) -> list[KeyOutcome]:
    """Refuse a stage that there is not here."""
    known = ", ".join(STAGES)
    if value == "ppo":
        hint = text(
            "stage=grpo trains from reward functions without a value model; "
            "stage=dpo from preference data",
            "stage=grpo 用奖励函数训练，无需价值模型；stage=dpo 用偏好数据",
        )
    else:
        hint = text(f"give stage=...: one of {known}", f"请给出 stage=...，可选：{known}")
    return refused(text(f"{value} is not supported here", f"此处没有 {value}"), hint, "stage")


def no_tuner(value: Any) -> list[KeyOutcome]:
    """Refuse a tuner that there is not here."""
    return refused(
        text(f"{value} is not supported here", f"此处没有 {value}"),
        text(
            "give tuner_type=lora or tuner_type=full", "请给出 tuner_type=lora 或 tuner_type=full"
        ),
        "tuner_type",
    )


def other_model(model_key: str) -> Callable[[Any, ForeignConfig], list[KeyOutcome]]:
    """Make the row of a reference model: here it is what training starts from."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if value == foreign.values.get(model_key):
            return [
                no_effect(
                    text("this is also the reference model in swiftbox", "此处的参考模型正是它")
                )
            ]
        return [
            unsupported(
                text(
                    "the reference model is where training starts: its model and adapter",
                    "参考模型就是训练的起点：其模型与适配器",
                )
            )
        ]

    return translate
