"""vLLM: its command line and environment as pure functions, and its process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.state import engine_state
from swiftbox.errors import ChildError, MachineError, RunError
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.security.children import child_environment, find_program
from swiftbox.serving.client import health
from swiftbox.serving.port_owner import owns_address

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that `--max-lora-rank` accepts."""

LOADED_RANK = 64
"""The largest rank of adapters that are loaded later; vLLM refuses larger ones."""

KEY = "VLLM_API_KEY"
START_TIMEOUT_S = 1800
"""Weights from a slow disk, kernels compiled for the first time."""

POLL_S = 0.25
LAST_LINES = 20

EXIT_GRACE_S = 5.0
"""A process that refuses connections may still need a moment to exit."""


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


@dataclass(frozen=True)
class VllmProcess:
    """How to start vLLM: command, variables, the URL it will answer at, the log of the run."""

    arguments: list[str]
    env: Mapping[str, str]
    url: str
    log: Path


def watch(
    server: VllmProcess,
    *,
    stop: threading.Event,
    started: Callable[[], None],
    drain_s: float,
) -> bool:
    """Run the server until `stop` is set; return True if it was stopped.

    Raises RunError with its last lines if it ends by itself. Another program that has taken the
    port is not asked: it must not get the key.
    """
    process = subprocess.Popen(
        server.arguments,
        env=child_environment(variables=server.env),
        cwd=server.log.parent,  # its workers may be of a Python that imports from there
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline, is_ready = time.monotonic() + START_TIMEOUT_S, False
        while process.poll() is None and not stop.is_set():
            is_ours = is_ready or owns_address(process.pid, server.url)
            if not is_ready and is_ours and health(server.url) == "ok":
                is_ready = True
                _report_ready(process, started, stop)
            if not is_ready and time.monotonic() > deadline:
                break
            stop.wait(POLL_S)
        if stop.is_set():
            return True
        raise _ended(process, server.log)
    finally:
        _end(process, drain_s)


def _report_ready(
    process: subprocess.Popen[bytes], started: Callable[[], None], stop: threading.Event
) -> None:
    """Report that it answers; ignore an error that its end or a stop has caused."""
    try:
        started()
    except RunError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=EXIT_GRACE_S)
        if process.poll() is None and not stop.is_set():
            raise


def _end(process: subprocess.Popen[bytes], within_s: float) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ended(process: subprocess.Popen[bytes], log: Path) -> RunError:
    code = process.poll()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    last_lines = "\n".join(lines[-LAST_LINES:])
    if code is None:
        what = text(
            f"vllm did not answer within {duration(START_TIMEOUT_S)}",
            f"vllm 在 {duration(START_TIMEOUT_S)}内未就绪",
        )
    else:
        what = text(f"vllm ended with code {code}", f"vllm 以代码 {code} 退出")
    return ChildError(f"{what}\n{last_lines}".rstrip(), hint=text(f"see {log}", f"见 {log}"))
