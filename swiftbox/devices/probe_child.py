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
    answer = devices_of(torch)
    answer["trouble"] = answer["trouble"] or trouble
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


def _load_plugin(name: str) -> str:
    """Import a plugin of torch if it is installed; return why it cannot be imported."""
    if importlib.util.find_spec(name) is None:
        return ""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        return f"import {name}: {_first_line(error)}"
    return ""


def devices_of(torch: Any) -> dict[str, Any]:
    """Describe the devices of the first backend that has any."""
    npu = getattr(torch, "npu", None)
    if torch.version.cuda or torch.version.hip:
        return _gpus(torch)
    if npu is not None and npu.is_available():
        return _answer("npu", [_npu(npu, index) for index in range(npu.device_count())])
    if torch.backends.mps.is_available():
        return _answer("mps", [_apple(torch)])
    return _answer("cpu", [])


def _gpus(torch: Any) -> dict[str, Any]:
    """Describe NVIDIA and AMD devices; without any, return the error of torch."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        is_available = torch.cuda.is_available()
    if is_available:
        backend = "rocm" if torch.version.hip else "cuda"
        kernels = {"architectures": " ".join(torch.cuda.get_arch_list())}
        devices = [_gpu(torch, index) for index in range(torch.cuda.device_count())]
        return _answer(backend, devices, kernels)
    trouble = " ".join(_first_line(message.message) for message in messages)
    if not trouble:
        try:
            torch.cuda.init()
        except (AssertionError, RuntimeError) as error:
            trouble = _first_line(error)
    return {**_answer("cpu", []), "trouble": trouble}


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
    """Describe the only device; the caller, which sees the memory, knows how much of it is free."""
    name = torch.backends.mps.get_name()
    chip = re.search(r"M\d+", name)
    major = platform.mac_ver()[0].split(".")[0]
    total = torch.mps.recommended_max_memory()
    return _device(0, name, total, total, f"{chip.group() if chip else name} macOS {major}")


def _free(module: Any, index: int) -> int:
    """Return the free bytes; 0 if others have filled or locked the device."""
    try:
        return int(module.mem_get_info(index)[0])
    except RuntimeError:  # the query creates a context, which needs memory itself
        return 0


def _device(index: int, name: str, total: int, free: int, capability: str) -> dict[str, Any]:
    return {
        "index": index,
        "name": name,
        "memory_bytes": int(total),
        "free_bytes": int(free),
        "capability": capability,
    }


def _answer(
    backend: str, devices: list[dict[str, Any]], versions: dict[str, str] | None = None
) -> dict[str, Any]:
    return {"backend": backend, "devices": devices, "versions": versions or {}, "trouble": ""}


def _first_line(message: object) -> str:
    return str(message).strip().partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
