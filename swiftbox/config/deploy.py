"""What a `task: deploy` YAML says: the models to serve, the address, and the limits."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator

from swiftbox.config.conversations import TemplateVariables
from swiftbox.config.fields import setting
from swiftbox.config.groups import HubFields, require_no_empty_names, require_variable_name
from swiftbox.config.task import TaskConfig
from swiftbox.config.vllm_arguments import fault_of
from swiftbox.language import text

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[0-9]+)?")
"""What browsers send as `Origin`: in lower case, without a path."""

ServingEngine = Literal["auto", "vllm", "llama_cpp", "builtin"]


class ServedNames(TaskConfig):
    """Which model is served, with which adapters."""

    model: str | None = setting(
        None,
        label_zh="模型",
        en="run, folder or id of the model; empty: the base that the adapter was trained on",
        zh="模型所在的运行、目录或 id；留空则用适配器训练时的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | list[str] | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter, or a list; each is served under its own name",
        zh="适配器所在的运行、目录或 id，或其列表；各以自己的名称提供服务",
        section="model",
        essential=True,
        min_length=1,
    )
    adapters: dict[str, str] | None = setting(
        None,
        label_zh="适配器名称表",
        en="adapters by the names that requests use as `model`",
        zh="适配器，键为请求中 `model` 所用的名称",
        section="model",
    )


class ServedModel(HubFields, TemplateVariables, ServedNames):
    """Where the model comes from, and its data type."""

    task: Literal["deploy"] = setting(
        "deploy",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of weights and computation",
        zh="权重与计算的数据类型",
        section="model",
    )

    @field_validator("adapter", "adapters")
    @classmethod
    def _has_names(cls, value: Any) -> Any:
        return require_no_empty_names(value)


class DeployConfig(ServedModel):
    """Fields of a deployment."""

    engine: ServingEngine = setting(
        "auto",
        label_zh="推理引擎",
        en="vllm, llama_cpp (for GGUF files), or builtin (swiftbox's own server); auto: llama_cpp "
        "for a GGUF file, else vllm if installed and supported on this backend",
        zh="vllm、llama_cpp（用于 GGUF 文件）或 builtin（swiftbox 自带服务）；auto：GGUF 文件用 "
        "llama_cpp，否则已安装且此硬件支持时用 vllm",
        section="run",
        essential=True,
    )
    host: str = setting(
        "127.0.0.1",
        label_zh="监听地址",
        en="address to listen on; 127.0.0.1: this machine only; any other requires a key",
        zh="监听地址；127.0.0.1 仅限本机；其他地址须设密钥",
        section="run",
        essential=True,
        min_length=1,
    )
    port: int = setting(
        8000,
        label_zh="端口",
        en="port; 0: any free one",
        zh="端口；0：自动选择空闲端口",
        section="run",
        essential=True,
        ge=0,
        le=65535,
    )
    api_key_env: str | None = setting(
        None,
        label_zh="密钥变量",
        en="environment variable that holds the API key; the key itself is never written",
        zh="保存 API 密钥的环境变量名；密钥本身不会写入任何地方",
        section="run",
        essential=True,
        min_length=1,
    )
    allowed_origins: list[str] | None = setting(
        None,
        label_zh="允许的网页来源",
        en="origins of web pages that may send requests, such as https://chat.example.com; "
        "'*': all; empty: none",
        zh="允许发送请求的网页来源，如 https://chat.example.com；'*' 表示全部；留空则不允许",
        section="run",
    )
    served_model_name: str | None = setting(
        None,
        label_zh="服务模型名",
        en="name of the model in requests; empty: its id or the name of its folder",
        zh="请求中的模型名称；留空则用模型 id 或目录名",
        section="run",
        min_length=1,
    )
    max_model_len: int | None = setting(
        None,
        label_zh="最大上下文",
        en="maximum length of prompt and answer together, in tokens; empty: what model and memory "
        "allow",
        zh="提示与回答合计的最大 token 数；留空则按模型与内存确定",
        section="run",
        ge=16,
        limit=100_000_000,
    )
    max_concurrency: int = setting(
        16,
        label_zh="并发数",
        en="answers generated at the same time",
        zh="同时生成的回答数",
        section="run",
        ge=1,
        limit=10_000,
    )
    max_queue: int = setting(
        256,
        label_zh="排队上限",
        en="requests that may wait in addition; further ones are refused with 429 (try again "
        "later)",
        zh="此外可排队的请求数；超出者返回 429（稍后重试）",
        section="run",
        ge=0,
        limit=1_000_000,
    )
    gpu_memory_utilization: float = setting(
        0.9,
        label_zh="显存占比",
        en="share of device memory that the server may use",
        zh="服务可使用的设备显存比例",
        section="run",
        gt=0,
        le=1,
    )
    tensor_parallel_size: int = setting(
        1,
        label_zh="张量并行数",
        en="devices that each layer is split across; more than 1 only with vllm",
        zh="每层切分到几个设备；大于 1 时仅限 vllm",
        section="run",
        ge=1,
        limit=1024,
    )

    parity: Literal["strict", "warn", "off"] = setting(
        "strict",
        label_zh="一致性核对",
        en="compare prompt tokens and greedy answers with training before serving; strict: stop "
        "if they differ; warn: only report it",
        zh="提供服务前将提示的 token 与贪心回答同训练时核对；strict：不一致则停止，warn：仅提示",
        section="run",
    )
    tools_in_prompt: bool = setting(
        False,
        label_zh="工具写入提示",
        en="describe the tools of a request in the system prompt if the chat template renders "
        "none; builtin engine only",
        zh="对话模板不渲染工具时，把请求中的工具写入系统提示；仅限内置服务",
        section="run",
    )
    adapter_loading: bool = setting(
        False,
        label_zh="动态加载适配器",
        en="let requests load and unload adapters by their folder while serving",
        zh="允许在服务期间通过请求按目录加载、卸载适配器",
        section="run",
    )

    vllm_args: dict[str, Any] | None = setting(
        None,
        label_zh="vLLM 参数",
        en="further arguments of vLLM by name, such as {enable-prefix-caching: false, seed: 1}; "
        "engine vllm only",
        zh="vLLM 的其他参数，以名称为键，如 {enable-prefix-caching: false, seed: 1}；"
        "仅限 vllm 引擎",
        section="run",
    )

    @field_validator("vllm_args")
    @classmethod
    def _are_arguments(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        faults = [fault for name, item in (value or {}).items() if (fault := fault_of(name, item))]
        if faults:
            raise ValueError("; ".join(faults))
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: list[str] | None) -> list[str] | None:
        for origin in value or []:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    text(
                        f"{origin} should be a scheme and a host, such as https://example.com, "
                        "without a path",
                        f"{origin} 应为协议加主机名，如 https://example.com，不含路径",
                    )
                )
        return value

    @field_validator("api_key_env")
    @classmethod
    def _is_variable(cls, value: str | None) -> str | None:
        return require_variable_name(value)
