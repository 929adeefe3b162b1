"""What the machine says of itself without torch: processor, memory, disk, drivers, packages."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from swiftbox.devices.limits import ROOT, limits
from swiftbox.devices.packages import version_of
from swiftbox.language import home

PACKAGES = (
    "torch transformers peft accelerate bitsandbytes datasets modelscope huggingface_hub"
    " safetensors tensorboard wandb swanlab deepspeed flash_attn flash_attn_3 liger_kernel"
    " fastapi uvicorn gptqmodel torch_npu trl vllm"
).split()

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")
"""Of the processor's flags, those that decide which kernels are fast."""

FIRST_PROCESSOR_BYTES = 16384
"""The flags of the first processor stand this early; the file grows with every further one."""

ENGINE = "swiftbox-engine.json"
"""The last file of an engine's environment to be written: with it, the rest is there."""

SMALLEST_CARD_SIMDS = 48
"""Fewer belong to graphics built into a processor, for which there is no ROCm torch."""


def torch_folder() -> Path | None:
    """Return the folder of the installed torch without importing it."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])


def torch_build(folder: Path) -> dict[str, str]:
    """Read from torch's own version file what it was built for: __version__, cuda, hip."""
    said = _text(folder / "version.py")
    return dict(re.findall(r"^(__version__|cuda|hip)\b[^=\n]*=\s*['\"]([^'\"]+)", said, re.M))


def cores() -> int:
    """Return the processors this process may use: its affinity, then its group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, limits().cores or sys.maxsize)


def memory() -> tuple[int, int]:
    """Return main memory in bytes, all and free, within the group's limit."""
    total, free = _main_memory()
    allowed = limits()
    if allowed.memory_bytes is None or allowed.memory_free_bytes is None:
        return total, free
    return min(total, allowed.memory_bytes), min(free, allowed.memory_free_bytes)


def _main_memory() -> tuple[int, int]:
    """Ask the kernel; on Linux without psutil, whose import takes longer than the answer."""
    said = dict(
        re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", _text(ROOT / "proc/meminfo"), re.M)
    )
    if len(said) == 2:
        return int(said["MemTotal"]) * 1024, int(said["MemAvailable"]) * 1024
    import psutil

    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


def disk_free(folder: Path) -> int:
    """Return the free bytes where a folder is, or would be made."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def boot() -> str:
    """Return a name of this start of the machine; devices may change with the next."""
    if name := _text(ROOT / "proc/sys/kernel/random/boot_id").strip():
        return name
    import psutil

    return str(int(psutil.boot_time()))


def cpu_features(root: Path = ROOT) -> tuple[str, ...]:
    """Return which of FEATURES the processor has."""
    try:
        with (root / "proc/cpuinfo").open("rb") as file:
            said = file.read(FIRST_PROCESSOR_BYTES).decode("ascii", "replace")
    except OSError:
        return ()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", said, re.MULTILINE)
    flags = set(found.group(1).split()) if found else set()
    return tuple(name for name in FEATURES if name in flags)


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the versions of Python, PACKAGES, the driver and the toolkits, where there are any."""
    found = {name: package_version(name) for name in PACKAGES}
    found["vllm"] = package_version("vllm") or engine_version("vllm")
    found |= {"driver": _driver(root), "cann": _cann(root), "macos": platform.mac_ver()[0]}
    folder = torch_folder()
    build = torch_build(folder) if folder else {}
    found |= {toolkit: build[toolkit] for toolkit in ("cuda", "hip") if toolkit in build}
    there = {name: said for name, said in found.items() if said}
    return {"python": platform.python_version(), **there}


def engine_version(name: str) -> str:
    """Return the version of a tool whose environment of its own is whole; empty without one."""
    try:
        found = json.loads((home() / "engines" / name / ENGINE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return "" if found.get("broken") else str(found.get("versions", {}).get(name, ""))


def package_version(name: str) -> str:
    """Return the version of an installed distribution; empty when it is not there."""
    return version_of(name) or ""


def _driver(root: Path) -> str:
    nvidia = _text(root / "proc/driver/nvidia/version")
    if found := re.search(r"Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", nvidia):
        return found.group(1)
    if amd := _text(root / "sys/module/amdgpu/version").strip():
        return amd
    ascend = _text(root / "usr/local/Ascend/driver/version.info")
    found = re.search(r"^Version=(\S+)", ascend, re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found else ""


def _cann(root: Path) -> str:
    latest = root / "usr/local/Ascend/ascend-toolkit/latest"
    toolkit = Path(os.environ.get("ASCEND_TOOLKIT_HOME") or latest)
    said = _text(toolkit / f"{platform.machine()}-linux" / "ascend_toolkit_install.info")
    found = re.search(r"^version=(\S+)", said, re.MULTILINE)
    return found.group(1) if found else ""


def seen_hardware(root: Path = ROOT) -> tuple[str, ...]:
    """Name the backends whose hardware is in the machine, whether torch can drive it or not."""
    signs = {
        "cuda": (root / "proc/driver/nvidia/version").exists()
        or (root / "dev/nvidiactl").exists()
        or shutil.which("nvidia-smi") is not None,
        "rocm": _has_amd_card(root),
        "npu": (root / "dev/davinci_manager").exists() or shutil.which("npu-smi") is not None,
        "mps": sys.platform == "darwin" and platform.machine() == "arm64",
    }
    return tuple(name for name, found in signs.items() if found)


def _has_amd_card(root: Path) -> bool:
    """Look for a card among the compute nodes of AMD's driver, which lists processors too."""
    if not (root / "dev/kfd").exists():
        return False
    nodes = [_text(path) for path in root.glob("sys/class/kfd/kfd/topology/nodes/*/properties")]
    simds = [int(count) for said in nodes for count in re.findall(r"^simd_count (\d+)", said, re.M)]
    return not nodes or max(simds, default=0) >= SMALLEST_CARD_SIMDS


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
