"""What a `task: chat` YAML says: who answers, what is asked, and how answers are sampled."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from swiftbox.config.conversations import TemplateVariables
from swiftbox.config.fields import setting
from swiftbox.config.groups import (
    HubFields,
    as_list,
    require_output_first,
    require_plain_address,
    require_variable_name,
)
from swiftbox.config.references import is_reference
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class ChatPartners(TaskConfig):
    """Who answers: a model, an adapter or a server, and optionally another one to compare."""

    model: str | None = setting(
        None,
        label_zh="模型",
        en="run, folder or id of a model; with endpoint: the name it is served under",
        zh="模型所在的运行、目录或 id；配合 endpoint 时为服务中的模型名称",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter; its base is model, or the one it was trained on",
        zh="适配器所在的运行、目录或 id；基座为 model，留空则为其训练基座",
        section="model",
        essential=True,
        min_length=1,
    )
    endpoint: str | None = setting(
        None,
        label_zh="服务地址",
        en="URL of an OpenAI-compatible server to talk to instead",
        zh="改为与此 URL 上的 OpenAI 兼容服务对话",
        section="model",
        essential=True,
        min_length=1,
    )
    compare: str | None = setting(
        None,
        label_zh="对比对象",
        en="whose answers to show side by side: base, or a run, folder, id or URL",
        zh="并排作答的对象：base（基座），或运行、目录、id、URL",
        section="model",
        essential=True,
        min_length=1,
    )


class ChatConfig(HubFields, TemplateVariables, ChatPartners):
    """Fields of a chat."""

    task: Literal["chat"] = setting(
        "chat",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    system: str | None = setting(
        None,
        label_zh="系统提示",
        en="system prompt at the start of the conversation",
        zh="对话开头的系统提示",
        section="run",
        essential=True,
    )
    prompt: str | list[str] | None = setting(
        None,
        label_zh="提问",
        en="prompt to answer without a terminal; a list: each in a separate conversation",
        zh="无终端时要问的内容；列表：各自独立对话",
        section="run",
        essential=True,
        min_length=1,
    )
    max_tokens: int = setting(
        1024,
        label_zh="最大回答长度",
        en="maximum length of an answer in tokens",
        zh="回答的最大 token 数",
        section="run",
        ge=1,
        limit=10_000_000,
    )
    temperature: float | None = setting(
        None,
        label_zh="采样温度",
        en="sampling temperature; 0: always the most likely token; empty: the server's default "
        "(built-in: the model's setting, else 0)",
        zh="采样温度；0：总取最可能的 token；留空：服务的默认值（内置服务：按模型设置，无则为 0）",
        section="run",
        ge=0,
        le=2,
    )
    api_key_env: str | None = setting(
        None,
        label_zh="密钥变量",
        en="environment variable that holds the API key of the endpoint",
        zh="保存 endpoint 的 API 密钥的环境变量名",
        section="run",
        min_length=1,
    )

    @field_validator("prompt")
    @classmethod
    def _is_not_empty(cls, value: str | list[str] | None) -> str | list[str] | None:
        if not all(
            isinstance(prompt, str) and prompt.strip() for prompt in as_list(value or ["-"])
        ):
            raise ValueError(text("should not be empty", "不能为空"))
        return value

    @field_validator("endpoint")
    @classmethod
    def _has_plain_host(cls, value: str | None) -> str | None:
        if value is not None and is_reference(value):
            return require_output_first(value)
        return require_plain_address(value)

    @field_validator("api_key_env")
    @classmethod
    def _is_variable(cls, value: str | None) -> str | None:
        return require_variable_name(value)
