from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
from made_up import DEVICES, made_up

from swiftbox.devices.machine import Machine


@pytest.mark.parametrize("name", DEVICES)
def test_a_machine_survives_json(name: str) -> None:
    machine = made_up(name)
    assert Machine.from_dict(json.loads(json.dumps(machine.to_dict()))) == machine


def test_a_machine_written_without_hardware_can_be_read() -> None:
    old = made_up("cuda").to_dict()
    del old["hardware"], old["trouble"]
    assert Machine.from_dict(old).hardware == ()


def test_a_machine_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        made_up("cpu").cores = 1  # type: ignore[misc]
