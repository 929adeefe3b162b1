"""Say which devices a run uses, and which variables several of them need."""

from __future__ import annotations

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import device_selection, peer_environment, selected_devices
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.tasks.task import Reason


def device_reasons(machine: Machine, processes: int, devices: int) -> tuple[Reason, ...]:
    """Return the variables that select `devices` devices or connect them, each with its reason."""
    available = len(machine.devices)
    free = min((device.free_bytes for device in selected_devices(machine, devices)), default=0)
    why = text(
        f"{devices} of {available} devices, with the most free memory: {size(free)}",
        f"{available} 个设备中可用显存最多的 {devices} 个：{size(free)}",
    )
    selection = device_selection(machine, devices)
    reasons = [Reason(name, value, why) for name, value in selection.items()]
    peer = BACKENDS[machine.backend].cell("peer_transfer").reason()
    reasons += [
        Reason(name, value, peer) for name, value in peer_environment(machine, processes).items()
    ]
    return tuple(reasons)
