"""The probe, with torches that are a few lines long and describe devices nobody has to own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_torch import CUDA, Torch, made_up_torch, nvidia_smi, probe_count

from swiftbox.devices import host, probe
from swiftbox.errors import MachineError
from swiftbox.language import home

GIB = 2**30


@pytest.fixture
def torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torch:
    """Put a made-up torch in the place of the real one, for this process and its children."""
    return made_up_torch(tmp_path, monkeypatch)


def test_a_cpu_build_of_torch_is_known_without_a_child(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA, build="__version__ = '2.13.0+cpu'\ncuda = None")
    machine = probe.probe(tmp_path)
    assert (machine.backend, machine.devices) == ("cpu", ())
    assert machine.hardware == ("cuda",)
    assert probe_count(tmp_path) == 0


def test_this_machine_is_probed_with_little_work(tmp_path: Path) -> None:
    if probe._torch_may_see_devices():
        pytest.skip("this torch may drive a device")
    probe.probe(tmp_path)  # the imports
    best = min(_seconds(lambda: probe.probe(tmp_path)) for _ in range(5))
    assert best < 0.04


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()  # of this process: a busy machine changes nothing
    work()
    return time.process_time() - began


def test_a_machine_without_torch_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "torch_folder", lambda: None)
    monkeypatch.setattr(host, "PACKAGES", ("not_a_package",))
    machine = probe.probe(tmp_path)
    assert machine.backend == "cpu"
    assert "torch" not in machine.versions
    assert machine.cores >= 1
    assert machine.disk_free_bytes > 0


def test_the_child_describes_every_device(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA)
    machine = probe.probe(tmp_path)
    assert machine.backend == "cuda"
    assert [device.index for device in machine.devices] == [0, 1]
    first = machine.devices[0]
    assert (first.name, first.capability) == ("NVIDIA H100", "9.0")
    assert (first.memory_bytes, first.free_bytes) == (80 * GIB, 70 * GIB)
    assert machine.versions["cuda"] == "13.0"
    assert machine.versions["architectures"] == "sm_80 sm_90"


def test_output_of_torch_does_not_disturb_the_probe(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA + "\nimport sys; print('hello'); print('a warning', file=sys.stderr)")
    assert probe.probe(tmp_path).backend == "cuda"


def test_a_device_that_others_have_filled_has_no_free_memory(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA + "\ncuda.mem_get_info = full")
    assert [device.free_bytes for device in probe.probe(tmp_path).devices] == [0, 0]


def test_an_amd_build_is_rocm_by_its_architecture(tmp_path: Path, torch: Torch) -> None:
    code = CUDA + "\nversion = Space(cuda=None, hip='7.2')\n"
    torch(code + "card.gcnArchName = 'gfx942:sramecc+:xnack-'", build="hip = '7.2'")
    machine = probe.probe(tmp_path)
    assert machine.backend == "rocm"
    assert machine.devices[0].capability == "gfx942"
    assert machine.versions["hip"] == "7.2"


ASCEND = """
from types import SimpleNamespace as Space
import torch
torch.npu = Space(
    is_available=lambda: True,
    device_count=lambda: 1,
    get_device_name=lambda index: "Ascend910B3",
    get_device_properties=lambda index: Space(total_memory=64 * 2**30),
    mem_get_info=lambda index: (60 * 2**30, 64 * 2**30),
)
"""

CPU = CUDA + "\nversion = Space(cuda=None, hip=None)"


def test_ascend_is_found_by_its_plugin(tmp_path: Path, torch: Torch) -> None:
    torch(CPU, build="cuda = None", torch_npu=ASCEND)
    machine = probe.probe(tmp_path)
    assert machine.backend == "npu"
    assert machine.devices[0].capability == "Ascend910B3"
    assert machine.devices[0].free_bytes == 60 * GIB


def test_a_plugin_that_does_not_load_is_reported_as_trouble(tmp_path: Path, torch: Torch) -> None:
    broken = "raise ImportError('libascendcl.so: cannot open shared object file')"
    torch(CPU, build="cuda = None", torch_npu=broken)
    machine = probe.probe(tmp_path)
    assert machine.backend == "cpu"
    assert machine.trouble.startswith("import torch_npu: libascendcl.so")


APPLE = """
import platform
platform.mac_ver = lambda: ("15.1", ("", "", ""), "arm64")
backends.mps.is_available = lambda: True
backends.mps.get_name = lambda: "Apple M3 Max"
mps = Space(recommended_max_memory=lambda: 2**60)
"""


def test_an_apple_device_shares_the_main_memory(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch(CPU + APPLE, build="cuda = None")
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(host, "memory", lambda: (32 * GIB, 10 * GIB))
    machine = probe.probe(tmp_path)
    assert machine.backend == "mps"
    assert machine.devices[0].name == "Apple M3 Max"
    assert machine.devices[0].capability == "M3 macOS 15"
    assert machine.devices[0].free_bytes == 10 * GIB


def test_a_cuda_build_that_finds_no_device_says_why(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA + "\ncuda.is_available = lambda: False")
    machine = probe.probe(tmp_path)
    assert machine.backend == "cpu"
    assert machine.trouble == "Found no NVIDIA driver on your system."


def test_the_answer_is_cached(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA)
    nvidia_smi(tmp_path, *(f"GPU-{name}, NVIDIA H100, {70 * 1024}" for name in ("7f", "a1")))
    first, second = probe.probe(tmp_path), probe.probe(tmp_path)
    assert probe_count(tmp_path) == 1
    assert second.devices == first.devices
    assert second.versions == first.versions


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_another_choice_of_devices_is_probed_again(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torch(CUDA)
    probe.probe(tmp_path)
    monkeypatch.setenv(name, "1")
    probe.probe(tmp_path)
    assert probe_count(tmp_path) == 2


def test_another_boot_is_probed_again(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch(CUDA)
    probe.probe(tmp_path)
    monkeypatch.setattr(host, "boot_id", lambda: "the next")
    probe.probe(tmp_path)
    assert probe_count(tmp_path) == 2


def test_no_device_is_cached_only_where_no_hardware_is_detected(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch(CUDA + "\ncuda.is_available = lambda: False")
    for _ in range(2):
        probe.probe(tmp_path)
    assert probe_count(tmp_path) == 2
    monkeypatch.setattr(probe, "detected_hardware", lambda: ())
    for _ in range(2):
        probe.probe(tmp_path)
    assert probe_count(tmp_path) == 3


@pytest.mark.parametrize("content", ["", "{torn", "[]", '{"key": "another"}'])
def test_a_torn_cache_is_not_used(tmp_path: Path, torch: Torch, content: str) -> None:
    torch(CUDA)
    home().mkdir(parents=True, exist_ok=True)
    (home() / probe.CACHE).write_text(content, encoding="utf-8")
    assert len(probe.probe(tmp_path).devices) == 2


def test_a_home_that_cannot_be_written_to_is_not_an_error(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch(CUDA)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "file" / "home"))
    assert probe.probe(tmp_path).backend == "cuda"


@pytest.mark.parametrize(
    ("variables", "selectors"),
    [
        ({}, ["", ""]),
        ({"CUDA_VISIBLE_DEVICES": "2, 0"}, ["2", "0"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-7f,GPU-a1"}, ["GPU-7f", "GPU-a1"]),
        ({"HIP_VISIBLE_DEVICES": "5,6"}, ["", ""]),
    ],
)
def test_a_device_keeps_its_name_in_the_users_variable(
    tmp_path: Path,
    torch: Torch,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    selectors: list[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    torch(CUDA)
    assert [device.selector for device in probe.probe(tmp_path).devices] == selectors


@pytest.mark.parametrize("name", ["HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
def test_rocm_selects_with_either_variable(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "4,7")
    torch(CUDA.replace("hip=None", 'hip="7.2"'), build="hip = '7.2'")
    assert [device.selector for device in probe.probe(tmp_path).devices] == ["4", "7"]


def test_a_child_that_crashes_is_quoted(tmp_path: Path, torch: Torch) -> None:
    torch("raise OSError('libcudart.so.13: cannot open shared object file')")
    with pytest.raises(MachineError, match="exit code 1") as caught:
        probe.probe(tmp_path)
    assert "libcudart.so.13: cannot open shared object file" in caught.value.message
    assert "nvidia-smi" in caught.value.hint


def test_a_child_that_dies_is_named_by_its_signal(tmp_path: Path, torch: Torch) -> None:
    torch("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(MachineError, match="SIGKILL"):
        probe.probe(tmp_path)


def test_a_child_without_output_is_an_error(tmp_path: Path, torch: Torch) -> None:
    torch("import os; os._exit(0)")
    with pytest.raises(MachineError, match="cannot be read"):
        probe.probe(tmp_path)


def test_a_child_that_hangs_is_ended(tmp_path: Path, torch: Torch) -> None:
    torch("import signal; signal.pause()")
    started = probe.start_probe(tmp_path)
    with pytest.raises(MachineError, match=r"no answer within 0\.3 s"):
        started.result(0.3)
    assert started.child is not None
    assert started.child.returncode is not None


def test_a_closed_probe_leaves_no_child(tmp_path: Path, torch: Torch) -> None:
    torch("import signal; signal.pause()")
    started = probe.start_probe(tmp_path)
    started.close()
    assert started.child is not None
    assert started.child.returncode is not None


def test_the_result_of_a_probe_can_be_read_twice(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA)
    started = probe.start_probe(tmp_path)
    assert started.result().devices == started.result().devices


def test_the_rest_of_the_machine_is_known_without_torch(tmp_path: Path) -> None:
    machine = probe.without_torch(tmp_path, "libcudart.so.13 is missing")
    assert machine.trouble == "libcudart.so.13 is missing"
    assert machine.cores == host.cores()


def test_the_cached_answer_is_plain_json(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA)
    probe.probe(tmp_path)
    cached = json.loads((home() / probe.CACHE).read_text(encoding="utf-8"))
    assert cached["found"]["backend"] == "cuda"
    assert not [name for name in os.listdir(home()) if name.startswith(".")]
