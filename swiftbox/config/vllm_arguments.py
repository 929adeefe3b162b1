"""`vllm_args`: further arguments of vLLM; what swiftbox decides itself cannot be among them.

vLLM takes any unambiguous beginning of a name, both dashes and underscores, and the last of several
values. A refused name is therefore refused in each of these spellings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swiftbox.language import text

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*(\.[A-Za-z0-9_-]+)*\+?")
"""A name without its dashes; `compilation-config.level` is a key of a JSON argument."""

TOOL_PARSER, REASONING_PARSER = "tool-call-parser", "reasoning-parser"
AUTO_TOOLS = "enable-auto-tool-choice"

SETTINGS: Mapping[str, str] = {
    "model": "model",
    "model-tag": "model",
    "served-model-name": "served_model_name",
    "host": "host",
    "port": "port",
    "api-key": "api_key_env",
    "allowed-origins": "allowed_origins",
    "dtype": "dtype",
    "max-model-len": "max_model_len",
    "max-num-seqs": "max_concurrency",
    "gpu-memory-utilization": "gpu_memory_utilization",
    "tensor-parallel-size": "tensor_parallel_size",
    "tp": "tensor_parallel_size",
    "trust-remote-code": "trust_remote_code",
    "revision": "revision",
    "default-chat-template-kwargs": "chat_template_kwargs",
    "enable-lora": "adapters",
    "lora-modules": "adapters",
    "max-loras": "adapters",
    "max-lora-rank": "adapters",
}
"""Arguments of vLLM that settings of a deployment stand for."""

OWN: Mapping[str, tuple[str, str]] = {
    "config": ("its arguments stand in vllm_args", "其中的参数请写在 vllm_args 中"),
    "uds": ("it listens at host and port", "服务监听 host 与 port"),
    "grpc": ("it speaks HTTP", "服务使用 HTTP"),
    "headless": ("it speaks HTTP", "服务使用 HTTP"),
    "ssl-keyfile": ("a proxy in front encrypts", "加密由前置代理完成"),
    "ssl-certfile": ("a proxy in front encrypts", "加密由前置代理完成"),
    "root-path": ("a proxy in front changes paths", "路径由前置代理处理"),
    "middleware": ("swiftbox's checks Host and key", "swiftbox 用它检查 Host 与密钥"),
    "generation-config": (
        "that of the model, with the ends that trainings added",
        "使用模型自身的设置，并加上训练新增的结束符",
    ),
    "chat-template": ("the model's own is used", "使用模型自带的模板"),
    "trust-request-chat-template": ("the model's own is used", "使用模型自带的模板"),
}
"""Arguments that swiftbox sets or leaves out, and why."""

IMPORTING = (
    "tool-parser-plugin",
    "reasoning-parser-plugin",
    "worker-cls",
    "worker-extension-cls",
    "scheduler-cls",
    "logits-processors",
    "io-processor-plugin",
    "distributed-executor-backend",
    "kv-transfer-config",
    "ec-transfer-config",
    "ec-manager-config",
    "compilation-config",
    "speculative-config",
    "structured-outputs-config",
    "logging-config",
    "log-config-file",
    "tool-server",
    "hf-config-path",
    "allowed-local-media-path",
)
"""Arguments that name code that vLLM imports, or open files of this machine to requests."""


def option_name(name: str) -> str:
    """Return the argument that a key sets: `no_enable-x.y` and `disable_x` are `enable-x`."""
    option = name.partition(".")[0].rstrip("+").replace("_", "-").lower().removeprefix("no-")
    rest = option.removeprefix("disable-")
    return option if rest == option else f"enable-{rest}"


def imports_code(name: str) -> bool:
    """Tell whether a key may set one of the arguments that name code or open files."""
    return any(row.startswith(option_name(name)) for row in IMPORTING)


def fault_of(name: str, value: Any) -> str:
    """Return why a key of `vllm_args` is refused; empty if vLLM is given it."""
    if not NAME.fullmatch(name):
        return text(f"{name!r} is not the name of an argument", f"{name!r} 不是参数名")
    option = option_name(name)
    setting = next((row for row in SETTINGS if row.startswith(option)), "")
    if setting:
        key = SETTINGS[setting]
        return text(f"{name}: set {key} instead", f"{name}：请改用 {key}")
    refused = next((row for row in OWN if row.startswith(option)), "")
    if refused:
        why = text(*OWN[refused])
        return text(f"{name} cannot be set: {why}", f"不能设置 {name}：{why}")
    return _fault_of_value(name, value)


def _fault_of_value(name: str, value: Any) -> str:
    if value is None or value == []:
        return text(f"{name} has no value", f"{name} 没有值")
    if isinstance(value, list):
        if not all(type(item) in (str, int, float) for item in value):
            return text(f"{name}: give nested lists as JSON", f"{name}：嵌套列表请写成 JSON 文本")
        if any(isinstance(item, str) and item.startswith("-") for item in value):
            return text(
                f"{name}: a value of a list begins with -, as an argument does",
                f"{name}：列表中的值以 - 开头，会被当作参数",
            )
    return ""


def rendered(arguments: Mapping[str, Any]) -> list[str]:
    """Return the part of a command line; a value can never become an argument.

    True becomes `--name`, false `--no-name`, a list several values, a mapping JSON.
    """
    command: list[str] = []
    for name, value in arguments.items():
        head, dot, tail = name.partition(".")
        option = head.replace("_", "-") + dot + tail
        if isinstance(value, bool):
            command.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list):
            command += [f"--{option}", *map(str, value)]
        else:
            content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            command.append(f"--{option}={content}")
    return command


def chosen(arguments: Mapping[str, Any] | None, option: str) -> Any:
    """Return the value that `vllm_args` has for an argument, in any spelling; None without it."""
    return next(
        (value for name, value in (arguments or {}).items() if option_name(name) == option), None
    )
