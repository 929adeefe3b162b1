"""The device of the tests marked gpu: the accelerator, or a CPU for those that it can run.

SWIFTBOX_GPU_TESTS_ON=cpu runs them on a CPU, which shows that they are not broken before they meet
a device; what needs a device is skipped and says so.

Of several devices the tests use the one with the most free memory: a process that sees several
cannot train. It is selected before torch opens a device, so the tests of one process share it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from on_device import OnDevice

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.devices.probe import probe
from swiftbox.devices.selection import device_selection

VARIABLE = "SWIFTBOX_GPU_TESTS_ON"


@dataclass(frozen=True)
class Probed:
    """This machine with all its devices, and the environment before one was selected."""

    machine: Machine
    environment: Mapping[str, str]


PROBED = pytest.StashKey[Probed]()


def pytest_configure(config: pytest.Config) -> None:
    """Select one device when the tests marked gpu were asked for: before modules import torch."""
    chosen = config.getoption("markexpr", "")
    if "gpu" in chosen.split() and "not gpu" not in chosen:
        config.stash[PROBED] = select_device()


def select_device() -> Probed:
    """Probe the machine once, and leave one device visible to this process and its children."""
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIFTBOX_HOME", folder)
        machine = probe(Path(folder))
    os.environ.update(device_selection(machine, 1))
    return Probed(machine, environment)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let warnings pass: those of drivers and kernels differ from machine to machine."""
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def probed(pytestconfig: pytest.Config) -> Probed:
    """What was probed; selects a device now if no expression of marks named the tests."""
    if PROBED not in pytestconfig.stash:
        pytestconfig.stash[PROBED] = select_device()
    return pytestconfig.stash[PROBED]


@pytest.fixture(scope="session")
def machine(probed: Probed) -> Machine:
    """This machine with all its devices; without an accelerator the tests are skipped."""
    if not probed.machine.devices and os.environ.get(VARIABLE) != "cpu":
        pytest.skip(f"no accelerator; {VARIABLE}=cpu runs what a CPU can run")
    return probed.machine


@pytest.fixture
def with_all_devices(probed: Probed) -> dict[str, str]:
    """The environment of a child that sees every device of this machine."""
    variable = BACKENDS[probed.machine.backend].visible_devices_env
    environment = dict(os.environ)
    environment.pop(variable, None)
    if variable in probed.environment:
        environment[variable] = probed.environment[variable]
    return environment


@pytest.fixture
def on_device(machine: Machine, tiny: Path, tmp_path: Path) -> OnDevice:
    """Trainings of a tiny model on the device."""
    return OnDevice(machine, tiny, tmp_path)


@pytest.fixture
def accelerator(machine: Machine) -> str:
    """The name of the accelerator in torch; skips on a CPU."""
    if not machine.devices:
        pytest.skip("needs an accelerator")
    return BACKENDS[machine.backend].torch_device
