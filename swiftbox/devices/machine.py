"""A machine as data: what a probe found, which plans are made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Device:
    """One accelerator; `capability` is what its backend calls it: 9.0, gfx942, Ascend910B3."""

    index: int
    name: str
    memory_bytes: int
    free_bytes: int
    capability: str = ""


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
    hardware: tuple[str, ...] = ()
    """Accelerators that are in the machine, by backend name, whether torch can use them or not."""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        """Make a machine of plain data."""
        values = dict(data)
        values["devices"] = tuple(Device(**one) for one in values["devices"])
        for key in ("cpu_features", "hardware"):
            values[key] = tuple(values.get(key, ()))
        return cls(**values)
