"""What a `task: chat` YAML says: who is talked to, what is asked, and how it is answered."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class ChatConfig(TaskConfig):
    """Fields of a chat."""

    task: Literal["chat"] = setting(
        "chat",
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
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
        en="run, folder or id of an adapter; its base is the model, or the one it was trained on",
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
        en="who answers beside it: base, or a run, folder, id or URL",
        zh="并排作答的对象：base（基座），或运行、目录、id、URL",
        section="model",
        essential=True,
        min_length=1,
    )
    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="where an id is fetched from; a folder that exists is always used as it is",
        zh="模型 id 从哪里下载；已存在的目录总是直接使用",
        section="model",
    )
    revision: str | None = setting(
        None,
        label_zh="模型版本",
        en="branch, tag or commit of the model on the hub",
        zh="模型在社区上的分支、标签或提交号",
        section="model",
    )
    trust_remote_code: bool = setting(
        False,
        label_zh="信任远程代码",
        en="run Python code that comes with the model; only for a source you trust",
        zh="允许执行模型自带的 Python 代码；仅用于可信来源",
        section="model",
    )
    system: str | None = setting(
        None,
        label_zh="系统提示",
        en="system prompt that the conversation begins with",
        zh="对话开头的系统提示",
        section="run",
        essential=True,
    )
    prompt: str | list[str] | None = setting(
        None,
        label_zh="提问",
        en="what to ask, without a terminal; a list: each in a conversation of its own",
        zh="无终端时要问的内容；列表：各自独立对话",
        section="run",
        essential=True,
        min_length=1,
    )
    max_tokens: int = setting(
        1024,
        label_zh="最大回答长度",
        en="longest answer in tokens",
        zh="回答的最大 token 数",
        section="run",
        ge=1,
    )
    temperature: float | None = setting(
        None,
        label_zh="采样温度",
        en="how varied answers are; 0: always the likeliest; empty: the model's own, or else 0",
        zh="回答的随机程度；0：总取最可能的；留空：按模型自身设置，无则为 0",
        section="run",
        ge=0,
        le=2,
    )
    api_key_env: str | None = setting(
        None,
        label_zh="密钥变量",
        en="environment variable that holds the endpoint's API key",
        zh="保存 endpoint 的 API 密钥的环境变量名",
        section="run",
        min_length=1,
    )

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, value: str | list[str] | None) -> str | list[str] | None:
        if not all(isinstance(one, str) and one.strip() for one in as_list(value or ["-"])):
            raise ValueError(text("should not be empty", "不能为空"))
        return value

    @field_validator("api_key_env")
    @classmethod
    def _a_variable(cls, value: str | None) -> str | None:
        if value is not None and not value.isidentifier():
            raise ValueError(
                text("should be the name of a variable, not the key", "应为变量名，而不是密钥本身")
            )
        return value
