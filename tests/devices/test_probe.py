"""The probe of this machine, and the child that asks torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from swiftbox.devices import probe as probing
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.probe_child import look
from swiftbox.errors import MachineError


def test_this_machine_is_described(tmp_path: Path) -> None:
    machine = probing.probe(tmp_path)
    assert machine.backend in BACKENDS
    assert machine.cores >= 1
    assert 0 < machine.memory_free_bytes <= machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.disk_free_bytes > 0
    assert machine.versions["transformers"] == "5.23.0"


def test_the_child_says_what_torch_sees() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swiftbox.devices.probe_child"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["backend"] in BACKENDS
    assert (found["backend"] == "cpu") == (found["devices"] == [])


def fake_torch(**parts: object) -> SimpleNamespace:
    off = SimpleNamespace(is_available=lambda: False)
    base = {
        "version": SimpleNamespace(cuda=None, hip=None),
        "cuda": off,
        "backends": SimpleNamespace(mps=off),
    }
    return SimpleNamespace(**{**base, **parts})


def test_an_nvidia_card_is_cuda_with_its_capability() -> None:
    card = SimpleNamespace(name="NVIDIA H100", major=9, minor=0)
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda _index: card,
        mem_get_info=lambda _index: (70, 80),
    )
    found = look(fake_torch(version=SimpleNamespace(cuda="13.0", hip=None), cuda=cuda))
    assert found["backend"] == "cuda"
    assert found["devices"][0] == {
        "index": 0, "name": "NVIDIA H100", "memory_bytes": 80, "free_bytes": 70, "capability": "9.0"
    }  # fmt: skip


def test_an_amd_card_is_rocm_by_its_architecture() -> None:
    card = SimpleNamespace(name="MI300X", gcnArchName="gfx942:sramecc+:xnack-", major=9, minor=4)
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda _index: card,
        mem_get_info=lambda _index: (1, 2),
    )
    found = look(fake_torch(version=SimpleNamespace(cuda=None, hip="7.2"), cuda=cuda))
    assert (found["backend"], found["devices"][0]["capability"]) == ("rocm", "gfx942")


def test_an_ascend_card_is_npu_by_its_name() -> None:
    npu = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        mem_get_info=lambda _index: (1, 2),
        get_device_name=lambda _index: "Ascend910B3",
    )
    found = look(fake_torch(npu=npu))
    assert (found["backend"], found["devices"][0]["capability"]) == ("npu", "Ascend910B3")


@pytest.fixture
def may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_torch_may_see_devices", lambda: True)


def answering(monkeypatch: pytest.MonkeyPatch, code: str) -> list[int]:
    """Let the probe's child run this code instead; count how often it is started."""
    begun: list[int] = []
    start = subprocess.Popen

    def popen(_command: object, **keys: object) -> subprocess.Popen[str]:
        begun.append(1)
        return start([sys.executable, "-c", code], **keys)

    monkeypatch.setattr(probing.subprocess, "Popen", popen)
    return begun


@pytest.mark.usefixtures("may_see")
def test_devices_are_remembered_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {"index": 0, "name": "X", "memory_bytes": 2, "free_bytes": 1, "capability": "9.0"}
    said = json.dumps({"backend": "cuda", "devices": [device], "versions": {}})
    begun = answering(monkeypatch, f"print({said!r})")
    assert probing.probe(tmp_path).devices[0].name == "X"
    assert probing.probe(tmp_path).devices[0].name == "X"
    assert len(begun) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    probing.probe(tmp_path)
    assert len(begun) == 2


@pytest.mark.usefixtures("may_see")
def test_a_child_that_breaks_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "raise SystemExit('libcuda is broken')")
    with pytest.raises(MachineError, match="libcuda is broken"):
        probing.probe(tmp_path)


@pytest.mark.usefixtures("may_see")
def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "import time; time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(MachineError, match="did not describe the devices"):
        probing.start_probe(tmp_path).result(timeout_s=0.2)
    assert time.monotonic() - began < 30
