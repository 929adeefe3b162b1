"""A machine described by a few characters: to see what would fit before renting it."""

from __future__ import annotations

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.host import versions
from swiftbox.devices.machine import Device, Machine
from swiftbox.errors import ConfigError
from swiftbox.language import text

GIB = 2**30

MOST_BYTES, MOST_DEVICES = 2**50, 4096
"""More is a typing error."""


def hypothetical_machine(description: str) -> Machine:
    """Return the machine that `cuda:24`, `cuda:80x8`, `npu:64`, `mps:32` or `cpu:64` describes.

    The numbers are GiB per device and devices; for a CPU and a Mac, the memory of the machine.
    """
    backend, _, rest = description.partition(":")
    size, times, count = rest.partition("x")
    try:
        memory, devices = round(float(size) * GIB), int(count if times else 1)
    except (ValueError, OverflowError):
        memory, devices = 0, 0
    if backend not in BACKENDS or not 0 < memory <= MOST_BYTES or not 0 < devices <= MOST_DEVICES:
        raise ConfigError(
            text(f"--on {description}: no such machine", f"--on {description}：无法识别"),
            hint=text(
                "write cuda:24, cuda:80x8, rocm:192, npu:64, mps:32 or cpu:64 (GiB x devices)",
                "写作 cuda:24、cuda:80x8、rocm:192、npu:64、mps:32 或 cpu:64（GiB x 设备数）",
            ),
        )
    accelerators = (
        ()
        if backend == "cpu"
        else tuple(
            Device(index, backend, memory, memory, "9.0" if backend == "cuda" else "")
            for index in range(devices)
        )
    )
    host = memory if backend in ("cpu", "mps") else 4 * memory * devices
    return Machine(backend, accelerators, 16, host, host, 10**13, versions=versions())
