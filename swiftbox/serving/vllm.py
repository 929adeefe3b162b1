"""vLLM: its command line and environment as pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.state import engine_state
from swiftbox.errors import MachineError
from swiftbox.language import text
from swiftbox.models.adapters import Adapter
from swiftbox.security.children import find_program

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that `--max-lora-rank` accepts."""

LOADED_RANK = 64
"""The largest rank of adapters that are loaded later; vLLM refuses larger ones."""

KEY = "VLLM_API_KEY"


@dataclass(frozen=True)
class VllmTarget:
    """What vLLM serves on this machine: local folders, and names."""

    executable: str
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


def largest_rank(adapter: Adapter) -> int:
    """Return the largest rank of the layers of a LoRA."""
    ranks = adapter.config.get("rank_pattern") or {}
    return int(max(adapter.config.get("r", 0), *ranks.values(), 0))


def command(config: DeployConfig, target: VllmTarget) -> list[str]:
    """Return the command that serves a settled deployment."""
    arguments = [target.executable, "serve", str(target.model)]
    arguments += ["--host", config.host, "--port", str(target.port)]
    arguments += ["--served-model-name", target.name, "--dtype", config.dtype]
    arguments += ["--gpu-memory-utilization", f"{config.gpu_memory_utilization:g}"]
    arguments += ["--max-num-seqs", str(config.max_concurrency)]
    if config.max_model_len is not None:
        arguments += ["--max-model-len", str(config.max_model_len)]
    if config.tensor_parallel_size > 1:
        arguments += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    if config.allowed_origins:
        arguments += ["--allowed-origins", json.dumps(config.allowed_origins)]
    if config.trust_remote_code:
        arguments.append("--trust-remote-code")
    if target.variables:
        variables = json.dumps(dict(target.variables), ensure_ascii=False)
        arguments += ["--default-chat-template-kwargs", variables]
    if target.generation is not None:
        arguments += ["--generation-config", str(target.generation)]
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


def environment(backend: str, *, key: str | None, loading: bool) -> dict[str, str]:
    """Return the variables of vLLM's processes; the key is passed only this way."""
    row = BACKENDS[backend]
    variables = {name: value for name, value in row.env.items() if name != "PYTORCH_ALLOC_CONF"}
    # vLLM's sleep mode and graphs use another allocator, which that variable breaks.
    variables |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    variables["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    if row.plugin:
        variables["VLLM_PLUGINS"] = "ascend"
    if key is not None:
        variables[KEY] = key
    if loading:
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return variables


def executable() -> str:
    """Return the vllm command of its engine or of this environment; raise MachineError."""
    engine = engine_state("vllm")
    path = engine.folder / "bin" / "vllm"
    if engine.status == "installed" and path.is_file():
        return str(path)
    command_path = find_program("vllm")
    if command_path is None:
        raise MachineError(
            text("engine: vllm: command not found", "engine: vllm：找不到 vllm 命令"),
            hint=text(
                "swiftbox engines install vllm, or set engine: builtin",
                "swiftbox engines install vllm，或设 engine: builtin",
            ),
        )
    return command_path
