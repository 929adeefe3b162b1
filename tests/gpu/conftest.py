"""The device of the tests marked gpu: the accelerator, or a CPU for those that it can run.

SWIFTBOX_GPU_TESTS_ON=cpu runs them on a CPU, which shows that they are not broken before they meet
a device; what needs a device is skipped and says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from on_device import OnDevice

from swiftbox.devices.machine import Machine
from swiftbox.devices.probe import probe

VARIABLE = "SWIFTBOX_GPU_TESTS_ON"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let warnings pass: those of drivers and kernels differ from machine to machine."""
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """This machine, probed once; without an accelerator the tests are skipped."""
    folder = tmp_path_factory.mktemp("probe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIFTBOX_HOME", str(folder))
        probed = probe(folder)
    if not probed.devices and os.environ.get(VARIABLE) != "cpu":
        pytest.skip(f"no accelerator; {VARIABLE}=cpu runs what a CPU can run")
    return probed


@pytest.fixture
def on_device(machine: Machine, tiny: Path, tmp_path: Path) -> OnDevice:
    """Trainings of a tiny model on the device."""
    return OnDevice(machine, tiny, tmp_path)


@pytest.fixture
def accelerator(machine: Machine) -> str:
    """The name of the accelerator in torch; skips on a CPU."""
    if not machine.devices:
        pytest.skip("needs an accelerator")
    from swiftbox.devices.backends import BACKENDS

    return BACKENDS[machine.backend].torch_device
