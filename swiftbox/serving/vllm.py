"""vLLM: its command line and environment as pure functions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.vllm_arguments import (
    AUTO_TOOLS,
    REASONING_PARSER,
    TOOL_PARSER,
    chosen,
    rendered,
)
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.middleware.swiftbox_gate import KEY, ONLY_LOCAL, ORIGINS
from swiftbox.engines.vllm import MIDDLEWARE
from swiftbox.security.secrets import is_loopback
from swiftbox.serving.vllm_parsers import ChosenParsers

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that `--max-lora-rank` accepts."""

LOADED_RANK = 64
"""The largest rank of adapters that are loaded later; vLLM refuses larger ones."""

FOREIGN = (
    KEY,
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_USE_RUST_FRONTEND",
    "VLLM_ALLOW_INSECURE_SERIALIZATION",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
)
"""Variables of the user's that would open routes, pass by the gate, or ask for another key."""

GATE = "swiftbox_gate.Gate"


@dataclass(frozen=True)
class VllmTarget:
    """What vLLM serves on this machine: local folders, and names."""

    program: tuple[str, ...]
    """The command that the model follows."""
    model: Path
    name: str
    adapters: Mapping[str, Path]
    ranks: tuple[int, ...]
    """The rank of each adapter."""
    port: int
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template that a request may change."""
    generation: Path | None = None
    """The folder of another generation_config.json than the model's."""
    parsers: ChosenParsers = field(default_factory=ChosenParsers)


def command(config: DeployConfig, target: VllmTarget) -> list[str]:
    """Return the command that serves a settled deployment."""
    arguments = [*target.program, str(target.model)]
    arguments += ["--host", config.host, "--port", str(target.port)]
    # As part of its argument: a folder's name may begin as an argument does.
    arguments += [f"--served-model-name={target.name}", "--dtype", config.dtype]
    arguments += ["--gpu-memory-utilization", f"{config.gpu_memory_utilization:g}"]
    arguments += ["--max-num-seqs", str(config.max_concurrency)]
    if config.max_model_len is not None:
        arguments += ["--max-model-len", str(config.max_model_len)]
    if config.tensor_parallel_size > 1:
        arguments += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    # Without it, some versions let the pages of all sites read answers.
    arguments += ["--allowed-origins", json.dumps(config.allowed_origins or [])]
    arguments += ["--middleware", GATE]
    if config.trust_remote_code:
        arguments.append("--trust-remote-code")
    if target.variables:
        variables = json.dumps(dict(target.variables), ensure_ascii=False)
        arguments += ["--default-chat-template-kwargs", variables]
    if target.generation is not None:
        arguments += ["--generation-config", str(target.generation)]
    arguments += _parsing(config, target.parsers) + _loras(config, target)
    return arguments + rendered(config.vllm_args or {})


def _parsing(config: DeployConfig, parsers: ChosenParsers) -> list[str]:
    """Return the arguments of parsers, without those that `vllm_args` chooses."""
    arguments = []
    given_tools = chosen(config.vllm_args, TOOL_PARSER)
    if (parsers.tools or given_tools) and chosen(config.vllm_args, AUTO_TOOLS) is None:
        arguments.append(f"--{AUTO_TOOLS}")
    if parsers.tools and given_tools is None:
        arguments += [f"--{TOOL_PARSER}", parsers.tools]
    if parsers.reasoning and chosen(config.vllm_args, REASONING_PARSER) is None:
        arguments += [f"--{REASONING_PARSER}", parsers.reasoning]
    return arguments


def _loras(config: DeployConfig, target: VllmTarget) -> list[str]:
    arguments: list[str] = []
    if target.adapters or config.adapter_loading:
        largest = max((LOADED_RANK if config.adapter_loading else 8, *target.ranks))
        rank = next((rank for rank in RANKS if rank >= largest), RANKS[-1])
        arguments += ["--enable-lora", "--max-loras", str(max(1, len(target.adapters)))]
        arguments += ["--max-lora-rank", str(rank)]
    if target.adapters:
        arguments.append("--lora-modules")
        # As JSON: a name or a path may hold the `=` of the short form.
        arguments += [
            json.dumps({"name": name, "path": str(path)}, ensure_ascii=False)
            for name, path in target.adapters.items()
        ]
    return arguments


def environment(
    inherited: Mapping[str, str], backend: str, config: DeployConfig, *, key: str | None
) -> dict[str, str]:
    """Return the variables of vLLM's processes; the key is passed only this way."""
    row = BACKENDS[backend]
    variables = {name: value for name, value in inherited.items() if name not in FOREIGN}
    # vLLM's sleep mode and graphs use another allocator, which that variable breaks.
    variables |= {name: value for name, value in row.env.items() if name != "PYTORCH_ALLOC_CONF"}
    variables |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    variables |= {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", **row.vllm_env}
    paths = (str(MIDDLEWARE), variables.get("PYTHONPATH", ""))
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    variables[ONLY_LOCAL] = "1" if is_loopback(config.host) else "0"
    variables[ORIGINS] = json.dumps(config.allowed_origins or [])
    if key is not None:
        variables[KEY] = key
    if config.adapter_loading:
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return variables
