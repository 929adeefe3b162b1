"""A child that asks torch about this machine's devices: `python -m swiftbox.devices.probe_child`.

Prints one JSON object: backend, devices, versions (the architectures of torch's kernels), trouble.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import re
import sys
import warnings
from typing import Any


def main() -> int:
    """Print what torch sees."""
    import torch

    trouble = _load_plugin("torch_npu")
    found = look(torch)
    found["trouble"] = found["trouble"] or trouble
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    return 0


def _load_plugin(name: str) -> str:
    """Import a plugin of torch where it is installed; return why it cannot be."""
    if importlib.util.find_spec(name) is None:
        return ""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        return f"import {name}: {_first_line(error)}"
    return ""


def look(torch: Any) -> dict[str, Any]:
    """Describe the devices of the first backend that has any."""
    npu = getattr(torch, "npu", None)
    if torch.version.cuda or torch.version.hip:
        return _gpus(torch)
    if npu is not None and npu.is_available():
        return _found("npu", [_npu(npu, index) for index in range(npu.device_count())])
    if torch.backends.mps.is_available():
        return _found("mps", [_apple(torch)])
    return _found("cpu", [])


def _gpus(torch: Any) -> dict[str, Any]:
    """Describe NVIDIA and AMD devices; without any, say what torch has against them."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        backend = "rocm" if torch.version.hip else "cuda"
        kernels = {"architectures": " ".join(torch.cuda.get_arch_list())}
        devices = [_gpu(torch, index) for index in range(torch.cuda.device_count())]
        return _found(backend, devices, kernels)
    trouble = " ".join(_first_line(one.message) for one in complaints)
    if not trouble:
        try:
            torch.cuda.init()
        except (AssertionError, RuntimeError) as error:
            trouble = _first_line(error)
    return {**_found("cpu", []), "trouble": trouble}


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    capability = f"{properties.major}.{properties.minor}"
    if torch.version.hip:
        capability = str(getattr(properties, "gcnArchName", "")).split(":")[0]
    free = _free(torch.cuda, index)
    return _device(index, properties.name, properties.total_memory, free, capability)


def _npu(npu: Any, index: int) -> dict[str, Any]:
    total = npu.get_device_properties(index).total_memory
    name = npu.get_device_name(index)
    return _device(index, name, total, _free(npu, index), name)


def _apple(torch: Any) -> dict[str, Any]:
    """Describe the one device; what is free of it is for the caller to say, who sees the memory."""
    name = torch.backends.mps.get_name()
    chip = re.search(r"M\d+", name)
    major = platform.mac_ver()[0].split(".")[0]
    total = torch.mps.recommended_max_memory()
    return _device(0, name, total, total, f"{chip.group() if chip else name} macOS {major}")


def _free(module: Any, index: int) -> int:
    """Return the free bytes; none where others have filled or claimed the device."""
    try:
        return int(module.mem_get_info(index)[0])
    except RuntimeError:  # asking makes a context, which needs memory itself
        return 0


def _device(index: int, name: str, total: int, free: int, capability: str) -> dict[str, Any]:
    return {
        "index": index,
        "name": name,
        "memory_bytes": int(total),
        "free_bytes": int(free),
        "capability": capability,
    }


def _found(
    backend: str, devices: list[dict[str, Any]], versions: dict[str, str] | None = None
) -> dict[str, Any]:
    return {"backend": backend, "devices": devices, "versions": versions or {}, "trouble": ""}


def _first_line(complaint: object) -> str:
    return str(complaint).strip().partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
