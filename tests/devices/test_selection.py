"""One process sees one device: the emptiest, of those that the user left visible."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import GIB, made_up

from swiftbox.devices import choices
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import device_selection, selected_devices
from swiftbox.plan import Plan, plan
from swiftbox.runs.supervise import Child, supervise
from swiftbox.tasks.load import loads

VARIABLES = {
    "cuda": "CUDA_VISIBLE_DEVICES",
    "rocm": "HIP_VISIBLE_DEVICES",
    "npu": "ASCEND_RT_VISIBLE_DEVICES",
}
TRAIN = "task: train\nmodel: m\ndataset: d.jsonl\n"
SINGLE_PROCESS = {
    "train": f"{TRAIN}num_devices: 1\n",
    "train without distribution": f"{TRAIN}distributed: none\n",
    "deploy": "task: deploy\nmodel: m\nengine: builtin\n",
    "merge": "task: merge\nadapters: [a]\nmodel: m\n",
    "quantize": "task: quantize\nmodel: m\nquant_method: bnb\n",
    "evaluate": "task: evaluate\nmodel: m\nbenchmarks: sample_ceval\n",
}


def with_free(machine: Machine, *gibibytes: int) -> Machine:
    """Return a machine whose devices have so much free memory."""
    devices = tuple(
        replace(device, free_bytes=free * GIB)
        for device, free in zip(machine.devices, gibibytes, strict=True)
    )
    return replace(machine, devices=devices)


def planned(config: str, machine: Machine) -> Plan:
    return plan(loads(config, source="a.yaml").config, machine)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        (name, backend)
        for name in SINGLE_PROCESS
        for backend in VARIABLES
        if (name, backend) != ("quantize", "npu")  # bitsandbytes has no Ascend kernels
    ],
)
def test_one_process_sees_the_device_with_the_most_free_memory(name: str, backend: str) -> None:
    machine = with_free(made_up(backend), 9, 8, 30, 60, 7, 60, 1, 2)
    settled = planned(SINGLE_PROCESS[name], machine)
    assert settled.env[VARIABLES[backend]] == "3"
    reason = next(note for note in settled.notes if note.key == VARIABLES[backend])
    assert reason.why == "1 of 8 devices, with the most free memory: 60.0 GiB"


def test_fewer_processes_than_devices_see_as_many_devices() -> None:
    machine = with_free(made_up("cuda"), 9, 8, 30, 60, 7, 60, 1, 2)
    assert planned(f"{TRAIN}num_devices: 3\n", machine).env["CUDA_VISIBLE_DEVICES"] == "2,3,5"


@pytest.mark.parametrize("description", ["cuda:80x8", "cuda:24", "mps:32", "cpu:64"])
def test_all_devices_stay_visible_where_each_has_a_process(description: str) -> None:
    settled = planned(TRAIN, hypothetical_machine(description))
    assert not {*VARIABLES.values()} & {*settled.env}


def test_a_server_over_two_devices_sees_two() -> None:
    machine = replace(made_up("cuda"), versions={**made_up("cuda").versions, "vllm": "0.33.0"})
    config = "task: deploy\nmodel: m\nengine: vllm\ntensor_parallel_size: 2\n"
    assert planned(config, machine).env["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_the_choice_is_among_the_devices_of_the_users_variable() -> None:
    machine = with_free(made_up("mixed"), 20, 30)
    selectors = ("GPU-7f", "GPU-a1")
    devices = [
        replace(device, selector=selector)
        for device, selector in zip(machine.devices, selectors, strict=True)
    ]
    machine = replace(machine, devices=tuple(devices))
    assert device_selection(machine, 1) == {"CUDA_VISIBLE_DEVICES": "GPU-a1"}


def test_no_device_is_selected_twice_among_equals() -> None:
    devices = selected_devices(made_up("cuda"), 3)
    assert [device.index for device in devices] == [0, 1, 2]


def test_the_selection_replaces_the_users_variable_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    script = f"import os; print([os.environ[name] for name in {names}])"
    child = Child(
        [sys.executable, "-c", script], {"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "1"}
    )
    supervise(tmp_path, child)
    assert (tmp_path / "log.txt").read_text("utf-8").strip() == "['3', '5']"


# ---- RTX 40 cards with an old driver


def with_driver(machine: Machine, driver: str) -> Machine:
    return replace(machine, versions={**machine.versions, "driver": driver})


def pair(name: str) -> Machine:
    """Return a machine with two devices of the kind of a made-up machine."""
    machine = made_up(name)
    (device,) = machine.devices
    return replace(machine, devices=(device, replace(device, index=1)))


@pytest.mark.parametrize(
    ("machine", "driver", "processes", "needed"),
    [
        (pair("rtx4090"), "535.183.01", 2, True),
        (pair("rtx4090"), "550.40.06", 2, True),
        (pair("rtx4090"), "550.40.07", 2, False),
        (pair("rtx4090"), "580.95.05", 2, False),
        (pair("rtx4090"), "535.183.01", 1, False),
        (pair("a100"), "535.183.01", 2, False),
    ],
)
def test_direct_transfer_is_off_exactly_where_accelerate_would_refuse_to_start(
    machine: Machine, driver: str, processes: int, needed: bool
) -> None:
    env = choices.environment(with_driver(machine, driver), processes)
    off = {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    assert {name: env[name] for name in off if name in env} == (off if needed else {})


def test_the_plan_says_why_direct_transfer_is_off() -> None:
    notes = planned(TRAIN, with_driver(pair("rtx4090"), "535.183.01")).notes
    (reason,) = [note for note in notes if note.key == "NCCL_P2P_DISABLE"]
    assert "accelerate refuses to start" in reason.why


def test_the_rule_is_that_of_the_installed_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils import environment

    monkeypatch.setattr(environment, "get_gpu_info", lambda: (["NVIDIA GeForce RTX 4090"] * 2, 2))
    for driver in ("535.183.01", "550.40.06", "550.40.07", "580.95.05"):
        monkeypatch.setattr(environment, "get_driver_version", lambda driver=driver: driver)
        ours = choices.environment(with_driver(pair("rtx4090"), driver), 2)
        assert environment.check_cuda_p2p_ib_support() == ("NCCL_P2P_DISABLE" not in ours)
