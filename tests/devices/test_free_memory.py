"""The free memory of devices that a probe has described before is that of now."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_torch import (
    BUSY_LATER,
    CUDA,
    Torch,
    made_up_torch,
    nvidia_smi,
    probe_count,
)

from swiftbox.devices import probe

GIB = 2**30


@pytest.fixture
def torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torch:
    """Put a made-up torch in the place of the real one, for this process and its children."""
    return made_up_torch(tmp_path, monkeypatch)


def free_memory(tmp_path: Path) -> list[int]:
    return [device.free_bytes // GIB for device in probe.probe(tmp_path).devices]


def test_free_device_memory_is_refreshed_in_a_cached_answer(tmp_path: Path, torch: Torch) -> None:
    torch(CUDA)
    probe.probe(tmp_path)
    nvidia_smi(tmp_path, "GPU-7f, NVIDIA H100, 1024", "GPU-a1, NVIDIA H100, 2048")
    assert free_memory(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    "lines",
    [
        ["GPU-7f, NVIDIA H100, [N/A]", "GPU-a1, NVIDIA H100, [N/A]"],
        ["GPU-7f, NVIDIA H100, 1024"],
        ["GPU-7f, Tesla T4, 1024", "GPU-a1, NVIDIA H100, 2048"],
        ["nonsense"],
    ],
)
def test_torch_is_asked_again_where_the_tool_lists_other_devices(
    tmp_path: Path, torch: Torch, lines: list[str]
) -> None:
    torch(BUSY_LATER)
    nvidia_smi(tmp_path, *lines)
    assert [free_memory(tmp_path), free_memory(tmp_path)] == [[70, 70], [30, 30]]


@pytest.mark.parametrize("chosen", ["MIG-5c", "GPU-7f,GPU-b2", "GPU-,GPU-a1"])
def test_torch_is_asked_again_for_devices_that_the_tool_cannot_name(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    torch(BUSY_LATER)
    nvidia_smi(tmp_path, "GPU-7f, NVIDIA H100, 1024", "GPU-a1, NVIDIA H100, 2048")
    assert [free_memory(tmp_path), free_memory(tmp_path)] == [[70, 70], [30, 30]]


def test_torch_is_asked_again_for_the_free_memory_of_amd_devices(
    tmp_path: Path, torch: Torch
) -> None:
    torch(BUSY_LATER.replace("hip=None", 'hip="7.2"'), build="hip = '7.2'")
    assert [free_memory(tmp_path), free_memory(tmp_path)] == [[70, 70], [30, 30]]


def test_devices_are_selected_by_their_uuid(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a1,GPU-7f")
    torch(CUDA)
    probe.probe(tmp_path)
    nvidia_smi(tmp_path, "GPU-7f, NVIDIA H100, 1024", "GPU-a1, NVIDIA H100, 2048")
    assert free_memory(tmp_path) == [2, 1]
    assert probe_count(tmp_path) == 1


def test_free_memory_is_that_of_the_visible_devices(
    tmp_path: Path, torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    torch(CUDA)
    probe.probe(tmp_path)
    nvidia_smi(tmp_path, *(f"GPU-{count}, NVIDIA H100, {count * 1024}" for count in (3, 4, 5)))
    assert free_memory(tmp_path) == [5, 3]
