"""Which of several devices a run sees, and what they need to exchange data; pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Device, Machine


def selected_devices(machine: Machine, count: int) -> tuple[Device, ...]:
    """Return the `count` devices with the most free memory, in the order of the machine."""
    if count >= len(machine.devices):
        return machine.devices
    emptiest = sorted(machine.devices, key=lambda device: -device.free_bytes)[: max(0, count)]
    return tuple(device for device in machine.devices if device in emptiest)


def device_selection(machine: Machine, count: int) -> Mapping[str, str]:
    """Return the variable that leaves a run `count` devices; empty if it uses all of them.

    A single process that sees several devices would split every batch over them.
    """
    variable = BACKENDS[machine.backend].visible_devices_env
    devices = selected_devices(machine, count)
    if not variable or len(devices) == len(machine.devices):
        return {}
    return {variable: ",".join(device.selector or str(device.index) for device in devices)}


def peer_environment(machine: Machine, processes: int) -> Mapping[str, str]:
    """Return what several processes need on devices without direct transfer between them."""
    backend, driver = BACKENDS[machine.backend], machine.versions.get("driver", "")
    variables: dict[str, str] = {}
    for rule in backend.rules if processes > 1 else ():
        if any(rule.applies(device.name, driver) for device in machine.devices):
            variables |= rule.env
    return variables
