from __future__ import annotations

import os
from pathlib import Path

import pytest

from swiftbox.devices import host
from swiftbox.devices.container_limits import ContainerLimits, container_limits
from swiftbox.files import free_bytes


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")
    return root


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert container_limits(tmp_path) == ContainerLimits(None, None, None)


def test_a_container_shows_its_limits_at_the_root(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": "350000 100000",
            "sys/fs/cgroup/memory.max": 1000,
            "sys/fs/cgroup/memory.current": 700,
            "sys/fs/cgroup/memory.stat": "anon 100\ninactive_file 300",
        },
    )
    assert container_limits(root) == ContainerLimits(
        cores=3, memory_bytes=1000, memory_free_bytes=600
    )


def test_the_tightest_group_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user/job/step",
            "sys/fs/cgroup/user/memory.max": 9000,
            "sys/fs/cgroup/user/job/memory.max": 500,
            "sys/fs/cgroup/user/job/memory.current": 100,
            "sys/fs/cgroup/user/job/step/memory.max": "max",
            "sys/fs/cgroup/user/job/step/cpu.max": "max 100000",
        },
    )
    assert container_limits(root) == ContainerLimits(
        cores=None, memory_bytes=500, memory_free_bytes=400
    )


def test_the_limits_of_version_1_are_read(tmp_path: Path) -> None:
    job = "slurm/job_7"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": f"4:memory:/{job}\n2:cpu,cpuacct:/{job}\n1:name=systemd:/",
            f"sys/fs/cgroup/memory/{job}/memory.limit_in_bytes": 1000,
            f"sys/fs/cgroup/memory/{job}/memory.usage_in_bytes": 900,
            f"sys/fs/cgroup/memory/{job}/memory.stat": "inactive_file 1\ntotal_inactive_file 400",
            f"sys/fs/cgroup/cpu/{job}/cpu.cfs_quota_us": 50000,
            f"sys/fs/cgroup/cpu/{job}/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
        },
    )
    assert container_limits(root) == ContainerLimits(
        cores=1, memory_bytes=1000, memory_free_bytes=500
    )


def test_cores_and_memory_keep_to_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "container_limits", lambda: ContainerLimits(1, 2**20, 2**19))
    assert host.cores() == 1
    assert host.memory() == (2**20, 2**19)


def test_without_limits_the_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "container_limits", ContainerLimits)
    if hasattr(os, "sched_getaffinity"):
        assert host.cores() == len(os.sched_getaffinity(0))
    total, free = host.memory()
    assert 0 < free <= total


def test_the_disk_is_that_of_the_nearest_existing_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "runs" / "not" / "yet") > 0


def test_the_features_of_the_first_processor_are_read(tmp_path: Path) -> None:
    flags = "fpu sse2 amx_bf16 avx2 avx512f"
    root = write(tmp_path, {"proc/cpuinfo": f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1"})
    assert host.cpu_features(root) == ("avx2", "avx512f", "amx_bf16")


def test_the_features_of_an_arm_processor_are_read(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd sve bf16"})
    assert host.cpu_features(root) == ("asimd", "bf16")


@pytest.mark.parametrize(
    ("file", "content", "version"),
    [
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5",
            "550.54.15",
        ),
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build",
            "580.65.06",
        ),
        ("sys/module/amdgpu/version", "6.12.12", "6.12.12"),
        ("usr/local/Ascend/driver/version.info", "Version=25.2.0\nmode=x", "25.2.0"),
    ],
)
def test_the_version_of_the_driver_is_read(
    tmp_path: Path, file: str, content: str, version: str
) -> None:
    assert host.versions(write(tmp_path, {file: content}))["driver"] == version


def test_the_version_of_cann_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    info = "aarch64-linux/ascend_toolkit_install.info"
    write(tmp_path, {info: "package_name=Ascend-cann-toolkit\nversion=9.1.0"})
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert host.versions(tmp_path)["cann"] == "9.1.0"


def test_versions_list_only_installed_packages(tmp_path: Path) -> None:
    versions = host.versions(tmp_path)
    assert {"python", "torch", "transformers"} <= set(versions)
    assert all(versions.values())
    assert "driver" not in versions


@pytest.mark.parametrize(
    ("content", "build"),
    [
        (
            "from typing import Optional\n__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n"
            "hip: Optional[str] = None\n",
            {"__version__": "2.13.0+cpu"},
        ),
        (
            "__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n",
            {"__version__": "2.13.0", "cuda": "13.0"},
        ),
        (
            "__version__ = '2.13.0+rocm7.2'\ncuda: Optional[str] = None\nhip = '7.2.5'\n",
            {"__version__": "2.13.0+rocm7.2", "hip": "7.2.5"},
        ),
    ],
)
def test_what_torch_was_built_for_is_read_from_its_version_file(
    tmp_path: Path, content: str, build: dict[str, str]
) -> None:
    assert host.torch_build(write(tmp_path, {"version.py": content})) == build


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _, **__: None)
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ({}, ()),
        ({"proc/driver/nvidia/version": ""}, ("cuda",)),
        ({"dev/nvidiactl": ""}, ("cuda",)),
        ({"dev/davinci_manager": ""}, ("npu",)),
        ({"dev/kfd": ""}, ("rocm",)),
    ],
)
def test_hardware_is_seen_by_its_driver(
    tmp_path: Path, files: dict[str, object], seen: tuple[str, ...]
) -> None:
    assert host.detected_hardware(write(tmp_path, files)) == seen


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize(("simds", "seen"), [(4, ()), (304, ("rocm",))])
def test_integrated_graphics_are_not_a_card(
    tmp_path: Path, simds: int, seen: tuple[str, ...]
) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    files = {
        "dev/kfd": "",
        f"{nodes}/0/properties": "cpu_cores_count 16\nsimd_count 0",
        f"{nodes}/1/properties": f"cpu_cores_count 0\nsimd_count {simds}\nmem_banks_count 1",
    }
    assert host.detected_hardware(write(tmp_path, files)) == seen


@pytest.mark.usefixtures("no_tools")
def test_hardware_is_seen_by_its_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: name if name == "nvidia-smi" else None)
    assert host.detected_hardware(tmp_path) == ("cuda",)
