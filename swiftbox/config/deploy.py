"""What a `task: deploy` YAML says: which model is served, under which names, where, to how many."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class ServedModel(TaskConfig):
    """Which model, with which adapters, in what numbers."""

    task: Literal["deploy"] = setting(
        "deploy",
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
    model: str | None = setting(
        None,
        label_zh="模型",
        en="model: run, folder or id; empty: the base that the adapter was trained on",
        zh="模型：运行、目录或 id；留空则用适配器训练时的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | list[str] | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter, or a list of them, each served under its own name",
        zh="适配器所在的运行、目录或 id，或其列表；各以自己的名称提供服务",
        section="model",
        essential=True,
        min_length=1,
    )
    adapters: dict[str, str] | None = setting(
        None,
        label_zh="适配器名称表",
        en="adapters by the name that a request's `model` calls them by",
        zh="适配器，键为请求中 `model` 所用的名称",
        section="model",
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
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="number type of the weights and of the arithmetic",
        zh="权重与计算的数值类型",
        section="model",
    )

    @field_validator("adapter")
    @classmethod
    def _named(cls, value: str | list[str] | None) -> str | list[str] | None:
        if not all(isinstance(one, str) and one for one in as_list(value or ["-"])):
            raise ValueError(text("should not be empty", "不能为空"))
        return value


class DeployConfig(ServedModel):
    """Fields of a deployment."""

    engine: Literal["auto", "vllm", "builtin"] = setting(
        "auto",
        label_zh="推理引擎",
        en="vllm, or builtin: swiftbox's own server; auto: vllm where it is at home and installed",
        zh="vllm 或 builtin（swiftbox 自带服务）；auto：适合且已安装时用 vllm",
        section="run",
        essential=True,
    )
    host: str = setting(
        "127.0.0.1",
        label_zh="监听地址",
        en="address to listen at; 127.0.0.1: this machine only; any other wants a key",
        zh="监听地址；127.0.0.1 仅限本机；其他地址须设密钥",
        section="run",
        essential=True,
        min_length=1,
    )
    port: int = setting(
        8000,
        label_zh="端口",
        en="port; 0: a free one",
        zh="端口；0：自动选择",
        section="run",
        essential=True,
        ge=0,
        le=65535,
    )
    api_key_env: str | None = setting(
        None,
        label_zh="密钥变量",
        en="environment variable that holds the API key; the key itself is written nowhere",
        zh="保存 API 密钥的环境变量名；密钥本身不会写入任何地方",
        section="run",
        essential=True,
        min_length=1,
    )
    served_model_name: str | None = setting(
        None,
        label_zh="服务模型名",
        en="name of the model in requests; empty: its id, or its folder's name",
        zh="请求中的模型名称；留空则用模型 id 或目录名",
        section="run",
        min_length=1,
    )
    max_model_len: int | None = setting(
        None,
        label_zh="最大上下文",
        en="longest prompt with its answer, in tokens; empty: as the model and memory allow",
        zh="提示与回答的最大 token 数；留空则按模型与内存确定",
        section="run",
        ge=16,
    )
    max_concurrency: int = setting(
        16,
        label_zh="并发数",
        en="answers that are written at the same time",
        zh="同时生成的回答数",
        section="run",
        ge=1,
    )
    max_queue: int = setting(
        256,
        label_zh="排队上限",
        en="requests that may wait beside those; further ones are told to come back (429)",
        zh="此外可排队的请求数；超出者返回 429",
        section="run",
        ge=0,
    )
    gpu_memory_utilization: float = setting(
        0.9,
        label_zh="显存占比",
        en="share of a device's memory that the server may use",
        zh="服务可使用的设备显存比例",
        section="run",
        gt=0,
        le=1,
    )
    tensor_parallel_size: int = setting(
        1,
        label_zh="张量并行数",
        en="devices that share each layer; more than 1 with vllm only",
        zh="每层切分到几个设备；大于 1 时仅限 vllm",
        section="run",
        ge=1,
    )

    parity: Literal["strict", "warn", "off"] = setting(
        "strict",
        label_zh="一致性核对",
        en="hold prompts' tokens and greedy answers against training before serving; "
        "strict: differences end it, warn: are told",
        zh="提供服务前将提示的 token 与贪心回答同训练时核对；strict：不一致则结束，warn：仅提示",
        section="run",
    )
    adapter_loading: bool = setting(
        False,
        label_zh="动态加载适配器",
        en="let requests load and forget adapters by their folder while it serves",
        zh="允许在服务期间通过请求按目录加载、卸载适配器",
        section="run",
    )

    @field_validator("api_key_env")
    @classmethod
    def _a_variable(cls, value: str | None) -> str | None:
        if value is not None and not value.isidentifier():
            raise ValueError(
                text("should be the name of a variable, not the key", "应为变量名，而不是密钥本身")
            )
        return value

    @field_validator("adapters")
    @classmethod
    def _apart(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is not None and not all(value) and not all(value.values()):
            raise ValueError(text("should not be empty", "不能为空"))
        return value


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    return host in ("localhost", "::1") or host.startswith("127.")
