"""A child that asks torch about this machine's devices: `python -m swiftbox.devices.probe_child`.

Prints one JSON object: backend, devices, versions of driver and toolkit.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any


def main() -> int:
    """Print what torch sees."""
    with contextlib.suppress(ImportError):
        import torch_npu  # noqa: F401 - registers the npu device
    import torch

    sys.stdout.write(json.dumps(look(torch)) + "\n")
    return 0


def look(torch: Any) -> dict[str, Any]:
    """Describe the devices of the first backend that has any."""
    versions: dict[str, str] = {}
    if torch.version.cuda:
        versions["cuda"] = str(torch.version.cuda)
    if torch.version.hip:
        versions["hip"] = str(torch.version.hip)
    if torch.cuda.is_available():
        backend = "rocm" if torch.version.hip else "cuda"
        devices = [_gpu(torch, index) for index in range(torch.cuda.device_count())]
        return {"backend": backend, "devices": devices, "versions": versions}
    npu = getattr(torch, "npu", None)
    if npu is not None and npu.is_available():
        devices = [_npu(npu, index) for index in range(npu.device_count())]
        return {"backend": "npu", "devices": devices, "versions": versions}
    if torch.backends.mps.is_available():
        total = int(torch.mps.recommended_max_memory())
        used = int(torch.mps.driver_allocated_memory())
        device = _device(0, "Apple GPU", total, total - used, "")
        return {"backend": "mps", "devices": [device], "versions": versions}
    return {"backend": "cpu", "devices": [], "versions": versions}


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    if torch.version.hip:
        capability = str(getattr(properties, "gcnArchName", "")).split(":")[0]
    else:
        capability = f"{properties.major}.{properties.minor}"
    return _device(index, properties.name, total, free, capability)


def _npu(npu: Any, index: int) -> dict[str, Any]:
    free, total = npu.mem_get_info(index)
    name = npu.get_device_name(index)
    return _device(index, name, total, free, name)


def _device(index: int, name: str, total: int, free: int, capability: str) -> dict[str, Any]:
    return {
        "index": index,
        "name": name,
        "memory_bytes": int(total),
        "free_bytes": int(free),
        "capability": capability,
    }


if __name__ == "__main__":
    sys.exit(main())
