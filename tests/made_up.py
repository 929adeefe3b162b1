"""Machines that nobody has to own: one of each backend, and some awkward ones."""

from __future__ import annotations

from swiftbox.devices.machine import Device, Machine

GIB = 2**30

DEVICES = {
    "cuda": [("NVIDIA H100 80GB HBM3", 80, "9.0")] * 8,
    "rocm": [("AMD Instinct MI300X", 192, "gfx942")] * 8,
    "npu": [("Ascend910B3", 64, "Ascend910B3")] * 8,
    "mps": [("Apple GPU", 24, "")],
    "cpu": [],
    "v100": [("Tesla V100-SXM2-32GB", 32, "7.0")],
    "rtx4090": [("NVIDIA GeForce RTX 4090", 24, "8.9")],
    "mi50": [("AMD Radeon VII", 16, "gfx906")],
    "ascend910a": [("Ascend910A", 32, "Ascend910A")],
}

BACKEND_OF = {"v100": "cuda", "rtx4090": "cuda", "mi50": "rocm", "ascend910a": "npu"}

VERSIONS = {"python": "3.11.7", "torch": "2.13.0", "tensorboard": "2.21.0"}


def made_up(name: str, **versions: str) -> Machine:
    """Return a machine by the name of its backend, or of its awkward device."""
    backend = BACKEND_OF.get(name, name)
    plugin = {"torch_npu": "2.13.0"} if backend == "npu" else {}
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
        versions={**VERSIONS, **plugin, **versions},
    )
