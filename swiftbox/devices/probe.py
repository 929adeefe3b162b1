"""Find out what this machine is; a child asks torch, only where it might see a device."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.devices.backends import ROWS
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import home, text

LONGEST_S = 60
"""Importing torch from a cold network disk takes half a minute at worst."""

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "modelscope",
    "huggingface_hub",
    "safetensors",
    "tensorboard",
    "wandb",
    "swanlab",
    "deepspeed",
    "flash_attn",
    "liger_kernel",
    "torch_npu",
    "trl",
)

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "bf16", "asimd")

CACHE = "machine.json"


@dataclass
class Probe:
    """A probe under way; `result` waits for it."""

    folder: Path
    key: str
    known: Mapping[str, Any] | None
    child: subprocess.Popen[str] | None

    def result(self, timeout_s: float = LONGEST_S) -> Machine:
        """Return the machine; raise MachineError when torch cannot say what there is."""
        found = dict(self.known) if self.known is not None else self._hear(timeout_s)
        return _machine(found, self.folder)

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        child = self.child
        if child is None:
            raise RuntimeError("a probe has an answer or a child")
        try:
            said, complaints = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            said, complaints = child.communicate()
            raise MachineError(
                text(
                    f"torch did not describe the devices within {timeout_s:.0f} s",
                    f"torch 未能在 {timeout_s:.0f} 秒内给出设备信息",
                ),
                hint=text("look at the driver: nvidia-smi, rocm-smi or npu-smi", "请检查驱动"),
            ) from None
        if child.returncode:
            last = "\n".join(complaints.strip().splitlines()[-5:])
            raise MachineError(
                text(
                    f"torch cannot be asked about the devices:\n{last}",
                    f"torch 无法给出设备信息：\n{last}",
                ),
                hint=text(
                    "run `swiftbox doctor`, or reinstall torch",
                    "运行 `swiftbox doctor` 或重装 torch",
                ),
            )
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        _remember(self.key, found)
        return found


def probe(folder: Path) -> Machine:
    """Return this machine; `folder` is where runs would be written."""
    return start_probe(folder).result()


def start_probe(folder: Path) -> Probe:
    """Begin to look; the child, where one is needed, works while the caller does other things."""
    if not _torch_may_see_devices():
        return Probe(folder, "", {"backend": "cpu", "devices": [], "versions": {}}, None)
    key = _key()
    cached = _recall(key)
    if cached is not None:
        return Probe(folder, key, cached, None)
    child = subprocess.Popen(
        [sys.executable, "-m", "swiftbox.devices.probe_child"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Probe(folder, key, None, child)


def _torch_may_see_devices() -> bool:
    """Read in torch's version file, without importing it, whether its build can drive a device."""
    where = importlib.util.find_spec("torch")
    if where is None or not where.submodule_search_locations:
        return False
    if sys.platform == "darwin" or importlib.util.find_spec("torch_npu") is not None:
        return True
    path = Path(where.submodule_search_locations[0]) / "version.py"
    try:
        said = path.read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"^(cuda|hip)\b.*=\s*['\"]", said, re.MULTILINE) is not None


def _key() -> str:
    """Name all that could change what torch sees; a new boot, torch or choice of devices."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    parts = [
        boot.read_text().strip() if boot.is_file() else str(os.getppid()),
        sys.executable,
        _version("torch") or "",
        _version("torch_npu") or "",
    ]
    names = {row.visible_devices_env for row in ROWS.values() if row.visible_devices_env}
    parts += [f"{name}={os.environ.get(name)}" for name in sorted(names)]
    return "|".join(parts)


def _recall(key: str) -> dict[str, Any] | None:
    try:
        kept = json.loads((home() / CACHE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = kept.get("found") if kept.get("key") == key else None
    return _with_free_memory(found) if isinstance(found, dict) else None


def _remember(key: str, found: Mapping[str, Any]) -> None:
    if not found["devices"]:
        return  # a device may come back, and asking again costs nothing that is trained on
    home().mkdir(parents=True, exist_ok=True)
    (home() / CACHE).write_text(json.dumps({"key": key, "found": found}), encoding="utf-8")


def _with_free_memory(found: dict[str, Any]) -> dict[str, Any]:
    """Refresh the free memory of remembered devices, where a tool says it quickly."""
    tool = shutil.which("nvidia-smi")
    if tool is None or len(found["devices"]) == 0:
        return found
    command = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        free = [int(line) * 2**20 for line in done.stdout.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return found
    if len(free) != len(found["devices"]):
        return found  # some are hidden: the order cannot be told
    devices = [
        {**one, "free_bytes": bytes_} for one, bytes_ in zip(found["devices"], free, strict=True)
    ]
    return {**found, "devices": devices}


def _machine(found: Mapping[str, Any], folder: Path) -> Machine:
    total, free = _memory()
    return Machine.from_dict(
        {
            **found,
            "cores": cores(),
            "memory_bytes": total,
            "memory_free_bytes": free,
            "disk_free_bytes": shutil.disk_usage(folder).free,
            "cpu_features": _features(),
            "hardware": seen_hardware(),
            "versions": {**_versions(), **found["versions"]},
        }
    )


def cores() -> int:
    """Return the processors this process may use: affinity, then the control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = allowed or 1
    quota = _words("/sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        count = min(count, max(1, int(quota[0]) // int(quota[1])))
    return count


def _memory() -> tuple[int, int]:
    """Return main memory in bytes, all and free, within the control group's limit."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for limit_name, used_name in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        limit, used = _words(limit_name), _words(used_name)
        if limit and used and limit[0].isdigit() and int(limit[0]) < total:
            total = int(limit[0])
            free = min(free, max(0, total - int(used[0])))
    return total, free


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").split()
    except OSError:
        return []


def _features() -> tuple[str, ...]:
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", content, re.MULTILINE)
    flags = set(found.group(1).split()) if found else set()
    return tuple(name for name in FEATURES if name in flags)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str]:
    found = {name: version for name in PACKAGES if (version := _version(name))}
    return {"python": platform.python_version(), **found}


def seen_hardware() -> tuple[str, ...]:
    """Name the accelerators that are in the machine, whether torch can drive them or not."""
    signs = {
        "cuda": (shutil.which("nvidia-smi"), Path("/proc/driver/nvidia/version").exists()),
        "rocm": (shutil.which("rocm-smi"), Path("/dev/kfd").exists()),
        "npu": (shutil.which("npu-smi"), Path("/dev/davinci_manager").exists()),
        "mps": (sys.platform == "darwin" and platform.machine() == "arm64",),
    }
    return tuple(name for name, found in signs.items() if any(found))
