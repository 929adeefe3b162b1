"""What a process sees of the devices: selection, allocator, communication, waiting."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from on_device import OnDevice

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.choices import environment
from swiftbox.devices.machine import Machine

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def in_child(code: str, **variables: str) -> str:
    """Return the last line that a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.gpu("torch_device")
def test_the_probe_names_the_device_as_torch_does(machine: Machine, accelerator: str) -> None:
    code = "import torch; print(torch.accelerator.current_accelerator().type)"
    assert in_child(code) == accelerator
    assert machine.devices[0].memory_bytes > 2**30
    assert machine.devices[0].capability


@pytest.mark.gpu("visible_devices_env")
def test_this_process_sees_one_device(accelerator: str) -> None:
    assert torch.get_device_module(accelerator).device_count() == 1


@pytest.mark.gpu("visible_devices_env")
def test_the_variable_selects_one_device(machine: Machine, accelerator: str) -> None:
    del accelerator
    variable = BACKENDS[machine.backend].visible_devices_env
    if not variable:
        pytest.skip("this backend has one device")
    device = machine.devices[-1]
    selector = device.selector or str(device.index)
    code = "import torch; print(torch.accelerator.device_count())"
    assert in_child(code, **{variable: selector}) == "1"


@pytest.mark.gpu("env_defaults")
def test_the_variables_of_a_run_are_accepted(machine: Machine, accelerator: str) -> None:
    code = (
        "import torch, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    total = float(torch.ones(2**22, device={accelerator!r}).sum())\n"
        "print(total, [str(w.message) for w in caught if 'ALLOC' in str(w.message)])"
    )
    assert in_child(code, **environment(machine, 1)) == f"{float(2**22)} []"


@pytest.mark.gpu("collective_backend")
def test_the_communication_library_works(machine: Machine) -> None:
    backend = BACKENDS[machine.backend]
    device = backend.torch_device if machine.devices else "cpu"
    code = (
        "import torch, torch.distributed as dist\n"
        f"dist.init_process_group({backend.collective!r}, rank=0, world_size=1)\n"
        f"x = torch.ones(4, device={device!r}); dist.all_reduce(x); print(float(x.sum()))\n"
        "dist.destroy_process_group()"
    )
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29577"}
    assert in_child(code, **variables) == "4.0"


@pytest.mark.gpu("ddp")
def test_two_processes_train_together(
    on_device: OnDevice, with_all_devices: dict[str, str]
) -> None:
    from tiny import write_chats, write_config

    on_device.require("ddp")
    if len(on_device.machine.devices) < 2:
        pytest.skip("needs two devices; on a CPU tests/core/training/test_sharding.py shows it")
    data = write_chats(on_device.folder / "chat.jsonl", 40)
    keys = {"distributed": "ddp", "num_devices": 2, "dtype": "auto", "save_steps": 0}
    config = write_config(on_device.folder / "a.yaml", on_device.model, data, **keys)
    out = on_device.folder / "out"
    command = [sys.executable, "-m", "swiftbox", "run", str(config), f"output_dir={out}", "--plain"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=with_all_devices
    )
    assert done.returncode == 0, done.stderr[-2000:]
