"""Values of ms-swift with a meaning: the stage, the system text, which tokens are learned."""

from __future__ import annotations

from typing import Any

from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    adopted,
    no_effect,
    replaced,
    unsupported,
)
from swiftbox.converters.token_keys import file_beside
from swiftbox.language import text

PREFERENCES = ("dpo", "orpo", "simpo", "cpo", "kto")
CLASSIFICATION = "classification"
GENERATING = ("grpo", "gkd")
"""Stages in which the model writes answers."""
STAGES = {**{name: name for name in (*PREFERENCES, *GENERATING)}, "rm": "reward"}


def stage_of(foreign: ForeignConfig) -> str:
    """Return the stage of a config under the name that it has in swiftbox."""
    command = str(foreign.values.get("command", "")).rpartition(" ")[2]
    if foreign.values.get("task_type") == "seq_cls" and not foreign.values.get("rlhf_type"):
        return CLASSIFICATION
    if kind := foreign.values.get("rlhf_type"):
        return str(replaced(kind, STAGES))
    return {"pt": "pt", "rlhf": "dpo"}.get(command, "sft")


def system(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the default system text, or the file that holds it."""
    if not str(value).endswith(".txt"):
        return adopted(system=str(value))
    content = file_beside(str(value), foreign)
    if content and content.strip():
        return adopted(system=content.strip())
    return [unsupported(text(f"{value} cannot be read here", f"此处无法读取 {value}"))]


def names(ours: str) -> Any:
    """Make the row of the names of a model or its author: Chinese and English, or one of both."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        listed = [str(name) for name in value] if isinstance(value, list) else [str(value)]
        if len(listed) not in (1, 2):
            return [unsupported(text("one or two names", "应为一到两个名称"))]
        return [KeyOutcome("adopted", {ours: listed if len(listed) == 2 else listed[0]})]

    return translate


def thinking(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate whether answers are generated with reasoning; training rows keep their own."""
    if stage_of(foreign) in GENERATING:
        return adopted(chat_template_kwargs={"enable_thinking": value})
    why = text(
        "it concerns answers, not the rows that are learned", "只影响生成回答，不影响训练数据"
    )
    return [no_effect(why)]


def truncation(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what happens to rows that are too long."""
    truncations = {"delete": "drop", "right": "right", "raise": "error"}
    if isinstance(value, str) and value in truncations:
        return adopted(truncation=truncations[value])
    why = text("long rows are cut at the right or dropped here", "此处长行截断右侧或丢弃")
    return [unsupported(why)]


def loss_scale(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate which tokens are learned."""
    if value == "default":
        return [
            no_effect(text("every answer is trained on, as in swiftbox", "此处同样学习每个回答"))
        ]
    if value == "all":
        return adopted(train_on_prompt=True)
    if value == "last_round" and stage_of(foreign) in ("sft", "pt", "gkd"):
        return adopted(turns="last")
    if value == "last_round" and stage_of(foreign) in (*PREFERENCES, "reward", "grpo"):
        return [
            no_effect(text("the last answer is compared, as in swiftbox", "此处同样比较最后的回答"))
        ]
    why = text("all answers of a conversation have the same weight", "对话中的每个回答同等学习")
    return [unsupported(why)]


def loss_type(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the loss of a preference stage; in others it names a plugin."""
    if stage_of(foreign) in (*PREFERENCES, "grpo"):
        return adopted(loss_type=value)
    return [unsupported(text("losses from plugins are not loaded", "不加载插件中的损失函数"))]
