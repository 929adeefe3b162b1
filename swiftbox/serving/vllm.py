"""vLLM's command line and environment as pure functions, and the watch over the process."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.state import engine_state
from swiftbox.errors import MachineError, RunError
from swiftbox.language import text
from swiftbox.serving.client import health

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` takes."""

LOADED_RANK = 64
"""Place for adapters that come later; what is larger is refused then, by vLLM."""

KEY = "VLLM_API_KEY"
LONGEST_START_S = 1800
"""Weights from a slow disk, kernels compiled for the first time."""

LOOK_AGAIN_S = 0.25
LAST_WORDS = 20

DYING_S = 5.0
"""A process that takes no connection any more may be there a little longer."""


@dataclass(frozen=True)
class Target:
    """What is served, on this machine: local folders, and names."""

    executable: str
    model: Path
    name: str
    adapters: Mapping[str, Path]
    ranks: tuple[int, ...]
    """The rank of each adapter."""
    port: int


def command(config: DeployConfig, target: Target) -> list[str]:
    """Return the command that serves a settled deployment."""
    words = [target.executable, "serve", str(target.model)]
    words += ["--host", config.host, "--port", str(target.port)]
    words += ["--served-model-name", target.name, "--dtype", config.dtype]
    words += ["--gpu-memory-utilization", f"{config.gpu_memory_utilization:g}"]
    words += ["--max-num-seqs", str(config.max_concurrency)]
    if config.max_model_len is not None:
        words += ["--max-model-len", str(config.max_model_len)]
    if config.tensor_parallel_size > 1:
        words += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    if config.trust_remote_code:
        words.append("--trust-remote-code")
    if target.adapters or config.adapter_loading:
        largest = max((LOADED_RANK if config.adapter_loading else 8, *target.ranks))
        rank = next((one for one in RANKS if one >= largest), RANKS[-1])
        words += ["--enable-lora", "--max-loras", str(max(1, len(target.adapters)))]
        words += ["--max-lora-rank", str(rank)]
    if target.adapters:
        words.append("--lora-modules")
        # As JSON: a name or a path may hold the `=` of the short form.
        words += [
            json.dumps({"name": name, "path": str(path)}, ensure_ascii=False)
            for name, path in target.adapters.items()
        ]
    return words


def environment(backend: str, *, key: str | None, loading: bool) -> dict[str, str]:
    """Return what vLLM's processes want in their environment; the key goes this way alone."""
    row = BACKENDS[backend]
    found = {name: value for name, value in row.env.items() if name != "PYTORCH_ALLOC_CONF"}
    # vLLM's sleep mode and graphs have an allocator of their own, which that variable upsets.
    found |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    found["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    if row.plugin:
        found["VLLM_PLUGINS"] = "ascend"
    if key is not None:
        found[KEY] = key
    if loading:
        found["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return found


def executable() -> str:
    """Return the vllm command of its engine, or of this environment; raise MachineError."""
    engine = engine_state("vllm")
    own = engine.folder / "bin" / "vllm"
    if engine.status == "installed" and own.is_file():
        return str(own)
    found = shutil.which("vllm")
    if found is None:
        raise MachineError(
            text("engine: vllm: the command is not there", "engine: vllm：找不到 vllm 命令"),
            hint=text(
                "swiftbox engines install vllm, or set engine: builtin",
                "swiftbox engines install vllm，或设 engine: builtin",
            ),
        )
    return found


def watch(
    words: list[str],
    env: Mapping[str, str],
    url: str,
    *,
    stop: threading.Event,
    started: Callable[[], None],
    drain_s: float,
    log: Path,
) -> bool:
    """Run the server until `stop` is set; tell whether it was stopped.

    Raises RunError when it ends by itself, with its last words.
    """
    process = subprocess.Popen(words, env=dict(env), stdin=subprocess.DEVNULL)
    try:
        until, told = time.monotonic() + LONGEST_START_S, False
        while process.poll() is None and not stop.is_set():
            if not told and health(url) == "ok":
                told = True
                _told(process, started, stop)
            if not told and time.monotonic() > until:
                break
            stop.wait(LOOK_AGAIN_S)
        if stop.is_set():
            return True
        raise _ended(process, log)
    finally:
        _end(process, drain_s)


def _told(
    process: subprocess.Popen[bytes], started: Callable[[], None], stop: threading.Event
) -> None:
    """Tell that it answers; an error that comes of its end, or of a stop, is not the cause."""
    try:
        started()
    except RunError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=DYING_S)
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
    last = "\n".join(lines[-LAST_WORDS:])
    if code is None:
        what = text(
            f"vllm did not answer within {LONGEST_START_S} s",
            f"vllm 在 {LONGEST_START_S} 秒内未就绪",
        )
    else:
        what = text(f"vllm ended with code {code}", f"vllm 以代码 {code} 退出")
    return RunError(f"{what}\n{last}".rstrip(), hint=text(f"see {log}", f"见 {log}"))
