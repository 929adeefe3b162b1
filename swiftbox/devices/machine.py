"""A machine as data: the result of a probe, and what plans are made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Device:
    """One accelerator.

    `capability` is what its backend calls its generation: 9.0 (NVIDIA), gfx942 (AMD),
    Ascend910B3 (Huawei), "M3 macOS 15" (Apple).
    """

    index: int
    name: str
    memory_bytes: int
    free_bytes: int
    capability: str = ""
    selector: str = ""
    """Its number or UUID in the variable that selects devices; empty: its index."""


@dataclass(frozen=True)
class Machine:
    """Backend, devices, processor, memory, disk and the versions of what is installed."""

    backend: str
    devices: tuple[Device, ...]
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    disk_free_bytes: int
    cpu_features: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions by distribution (with underscores), also python, driver, cuda, hip, cann, macos."""
    hardware: tuple[str, ...] = ()
    """Backends whose accelerators are in the machine, whether torch can use them or not."""
    trouble: str = ""
    """The error of torch if it could not use a device that may be present."""

    def to_dict(self) -> dict[str, Any]:
        """Return the machine as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        """Return the machine of plain data: `from_dict(machine.to_dict()) == machine`."""
        values = dict(data)
        values["devices"] = tuple(Device(**device) for device in values["devices"])
        for key in ("cpu_features", "hardware"):
            values[key] = tuple(values.get(key, ()))
        return cls(**values)
