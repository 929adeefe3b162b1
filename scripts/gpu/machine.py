"""The machine: doctor, versions, and the measured rate of matrix products."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from gpu.figures import Recorder
from gpu.settings import Settings
from gpu.timing import matmul_rate

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("flash_attn", "liger_kernel", "bitsandbytes", "trl", "triton", "pytest")


def measure(recorder: Recorder, settings: Settings) -> None:
    """Record doctor's report, what is installed, and the rates of the device."""
    doctor = subprocess.run(
        [sys.executable, "-m", "swiftbox", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report: Any = json.loads(doctor.stdout) if doctor.stdout.startswith("{") else doctor.stderr
    recorder.record("doctor, exit code", doctor.returncode, check=1, raw={"report": report})
    for name in OPTIONAL:
        recorder.record(f"installed: {name}", importlib.util.find_spec(name) is not None)
    recorder.record("torch", torch.__version__)
    device = settings.device
    if device != "cpu":
        properties = device_properties()
        recorder.record("device", properties["name"], raw=properties)
    size = 256 if device == "cpu" else 8192
    types = ("float32",) if device == "cpu" else ("bfloat16", "float16", "float32")
    for dtype in types:
        rate = matmul_rate(device, getattr(torch, dtype), size)
        recorder.record(f"matrix product of {size:,}, {dtype}", rate / 1e12, "TFLOP/s")


def device_properties() -> dict[str, Any]:
    """Return what torch says about the accelerator."""
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    module = getattr(torch, kind.type)
    count = torch.accelerator.device_count()
    if not hasattr(module, "get_device_properties"):
        return {"name": kind.type, "count": count}
    properties = module.get_device_properties(0)
    return {
        "name": properties.name,
        "count": count,
        "memory_bytes": properties.total_memory,
        "free_bytes": module.mem_get_info(0)[0],
        "capability": [getattr(properties, key, None) for key in ("major", "minor")],
        "processors": getattr(properties, "multi_processor_count", None),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
    }
