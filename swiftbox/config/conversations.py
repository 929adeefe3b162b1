"""How conversations become text: the template's variables, learned turns, changes to messages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from swiftbox.config.clear_values import TRUE_FALSE, UnclearValue
from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen, as_list
from swiftbox.language import text

RESERVED_VARIABLES = (
    "messages",
    "tools",
    "documents",
    "conversation",
    "conversations",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "return_dict",
    "return_tensors",
    "return_assistant_tokens_mask",
    "padding",
    "truncation",
    "max_length",
    "tokenizer_kwargs",
    "sanitize_control_tokens",
)
"""Variables that rendering sets itself, and settings of `apply_chat_template`."""


class TemplateVariables(Frozen):
    """Variables of the chat template; the same in training, chat, server and evaluation."""

    chat_template_kwargs: dict[str, Any] = setting(
        {},
        label_zh="模板变量",
        en="variables of the chat template, such as {enable_thinking: false}",
        zh="传给对话模板的变量，例如 {enable_thinking: false}",
        section="model",
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _not_reserved(cls, value: dict[str, Any]) -> dict[str, Any]:
        reserved = [name for name in value if name in RESERVED_VARIABLES]
        if reserved:
            names = ", ".join(reserved)
            raise ValueError(text(f"{names} cannot be set", f"不能设置 {names}"))
        for name, item in value.items():
            _require_clear(name, item)
        return value


def _require_clear(name: str, value: Any) -> None:
    """Raise ValueError for a value that YAML reads as another, and for true and false as texts."""
    if isinstance(value, dict):
        for inner, item in value.items():
            _require_clear(f"{name}.{inner}", item)
    elif isinstance(value, list):
        for item in value:
            _require_clear(name, item)
    elif isinstance(value, UnclearValue):
        raise ValueError(text(f"{name}: is not clear: {value}", f"{name}：不明确：{value}"))
    elif isinstance(value, str) and value.strip().lower() in TRUE_FALSE:
        plain = value.strip().lower()
        raise ValueError(
            text(
                f"{name}: {plain} is a text here, which templates take for true; remove the quotes",
                f"{name}：此处的 {plain} 是文字，模板会当作 true；请去掉引号",
            )
        )


class ConversationFields(TemplateVariables):
    """Which turns of a conversation are learned, and how messages are adapted to a template."""

    turns: Literal["auto", "all", "last", "each"] = setting(
        "auto",
        label_zh="学习的轮次",
        en="answers to learn: all in one rendering, each as the server renders it, only the last; "
        "auto: all where that is exact, else each",
        zh="学习哪些回答：all 在一次渲染中学习全部，each 逐轮按服务时的渲染学习，"
        "last 只学最后一轮；auto：结果精确时用 all，否则用 each",
        section="data",
    )
    lost_words: Literal["error", "warn"] = setting(
        "error",
        label_zh="丢失内容处理",
        en="learned words that the chat template drops, such as reasoning: error makes the row "
        "bad, warn only counts them",
        zh="模板丢弃了要学习的内容（如推理）时：error 视为坏行，warn 只计数",
        section="data",
    )
    merge_consecutive: bool = setting(
        False,
        label_zh="合并相邻轮次",
        en="join neighbouring turns of one role, for templates that require alternating roles",
        zh="合并相邻的同角色轮次，用于要求角色交替的模板",
        section="data",
    )
    system_into_user: bool = setting(
        False,
        label_zh="系统提示并入用户",
        en="put a system text that the template refuses in front of the next user turn",
        zh="模板不接受的 system 内容并入其后的 user 轮次开头",
        section="data",
    )
    sequential_calls: bool = setting(
        False,
        label_zh="依次调用工具",
        en="put the result of each parallel tool call behind it, for templates with a single call "
        "per turn",
        zh="并行的工具调用改为依次调用，各自后接结果，用于每轮只能调用一次的模板",
        section="data",
    )
    system: str | None = setting(
        None,
        label_zh="默认系统提示",
        en="system text of conversations that have none",
        zh="没有 system 的对话使用的系统提示",
        section="data",
        min_length=1,
    )
    model_name: str | list[str] | None = setting(
        None,
        label_zh="模型名称",
        en="replaces {{NAME}} in the rows; [Chinese, English] takes the language of the turn",
        zh="替换数据中的 {{NAME}}；写成 [中文, 英文] 时按该轮的语言选择",
        section="data",
        min_length=1,
    )
    model_author: str | list[str] | None = setting(
        None,
        label_zh="模型作者",
        en="replaces {{AUTHOR}} in the rows; [Chinese, English] takes the language of the turn",
        zh="替换数据中的 {{AUTHOR}}；写成 [中文, 英文] 时按该轮的语言选择",
        section="data",
        min_length=1,
    )

    @field_validator("model_name", "model_author")
    @classmethod
    def _in_two_languages(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and (len(value) > 2 or not all(as_list(value))):
            raise ValueError(
                text(
                    "should be one name, or a list of the Chinese and the English one",
                    "应为一个名称，或 [中文名, 英文名]",
                )
            )
        return value
