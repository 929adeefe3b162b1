"""Machines that nobody has to own: one of each backend, and some awkward ones."""

from __future__ import annotations

from swiftbox.devices.machine import Device, Machine

GIB = 2**30

DEVICES = {
    "cuda": [("NVIDIA H100 80GB HBM3", 80, "9.0")] * 8,
    "rocm": [("AMD Instinct MI300X", 192, "gfx942")] * 8,
    "npu": [("Ascend910B3", 64, "Ascend910B3")] * 8,
    "mps": [("Apple M2 Pro", 24, "M2 macOS 15")],
    "cpu": [],
    "h100": [("NVIDIA H100 80GB HBM3", 80, "9.0")],
    "a100": [("NVIDIA A100-SXM4-80GB", 80, "8.0")],
    "rtx4090": [("NVIDIA GeForce RTX 4090", 24, "8.9")],
    "rtx5090": [("NVIDIA GeForce RTX 5090", 32, "12.0")],
    "t4": [("Tesla T4", 16, "7.5")],
    "v100": [("Tesla V100-SXM2-32GB", 32, "7.0")],
    "p100": [("Tesla P100-PCIE-16GB", 16, "6.0")],
    "mixed": [("NVIDIA A100-SXM4-80GB", 80, "8.0"), ("Tesla V100-SXM2-32GB", 32, "7.0")],
    "mi250": [("AMD Instinct MI250X", 64, "gfx90a")],
    "mi50": [("AMD Radeon VII", 16, "gfx906")],
    "ascend910a": [("Ascend910A", 32, "Ascend910A")],
    "ascend910c": [("Ascend910_9391", 64, "Ascend910_9391")],
    "old_mac": [("Apple M1", 16, "M1 macOS 13")],
    "amx_cpu": [],
}

BACKEND_OF = {
    **dict.fromkeys(("h100", "a100", "rtx4090", "rtx5090", "t4", "v100", "p100", "mixed"), "cuda"),
    **dict.fromkeys(("mi250", "mi50"), "rocm"),
    **dict.fromkeys(("ascend910a", "ascend910c"), "npu"),
    "old_mac": "mps",
    "amx_cpu": "cpu",
}

FEATURES = {
    "cpu": ("avx2",),
    "amx_cpu": ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"),
}

VERSIONS = {
    "python": "3.11.7",
    "torch": "2.13.0",
    "bitsandbytes": "0.50.2",
    "trl": "1.16.0",
    "math_verify": "0.9.0",
    "tensorboard": "2.21.0",
}

TOOLKITS = {
    "cuda": {"cuda": "13.0"},
    "rocm": {"hip": "7.2"},
    "npu": {"torch_npu": "2.13.0", "cann": "9.1.0"},
    "mps": {"macos": "15.1"},
    "cpu": {},
}


def made_up(name: str, **versions: str) -> Machine:
    """Return a machine by the name of its backend, or of its awkward device."""
    backend = BACKEND_OF.get(name, name)
    return Machine(
        backend=backend,
        devices=tuple(
            Device(index, device, size * GIB, size * GIB, capability)
            for index, (device, size, capability) in enumerate(DEVICES[name])
        ),
        cores=16,
        memory_bytes=128 * GIB,
        memory_free_bytes=120 * GIB,
        disk_free_bytes=500 * GIB,
        cpu_features=FEATURES.get(name, FEATURES["cpu"]),
        hardware=() if backend == "cpu" else (backend,),
        versions={**VERSIONS, **TOOLKITS[backend], **versions},
    )
