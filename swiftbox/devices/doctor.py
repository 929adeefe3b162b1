"""Check this machine: what it has, what it lacks, and the exact command that fixes it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.devices.backends import ATTENTION, BACKENDS, STRATEGIES, Backend
from swiftbox.devices.choices import lacks
from swiftbox.devices.machine import Device, Machine
from swiftbox.errors import MachineError
from swiftbox.formatting import size
from swiftbox.language import text

OK, WARN, MISSING = "ok", "warn", "missing"

LITTLE_DISK_BYTES = 20 * 2**30
"""A 7B model in 16 bits takes 14 GiB; with less free space it cannot be downloaded."""

LITTLE_MEMORY_BYTES = 8 * 2**30
"""Half a billion float32 weights with gradients and the two moments of AdamW take 7.5 GiB."""

TOOLKITS = ("cuda", "hip", "cann", "macos", "driver")

FAST_KERNELS = {"liger": "liger_kernel", "torch_compile": "torch_compile"}
"""Capabilities besides the attention that make a training faster."""

BUSY_SHARE = 0.5
"""With less of a device's memory free than this, somebody else is probably using it."""


@dataclass(frozen=True)
class DoctorCheck:
    """One check: its name, the result, a verdict, and the fix."""

    name: str
    result: str
    verdict: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the check under the keys that `doctor --json` prints."""
        return {
            "what": self.name,
            "found": self.result,
            "verdict": self.verdict,
            "cure": self.fix,
        }


@dataclass(frozen=True)
class DoctorReport:
    """All checks of a machine."""

    checks: tuple[DoctorCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"lines": tuple(check.to_dict() for check in self.checks)}


def examine(folder: Path) -> DoctorReport:
    """Check this machine, even if torch does not work; `folder` is where runs would be written."""
    from swiftbox.devices.probe import probe, without_torch

    try:
        machine = probe(folder)
    except MachineError as error:
        machine = without_torch(folder, error.message)
    return report(machine)


def report(machine: Machine, pins: Mapping[str, str] | None = None) -> DoctorReport:
    """Check a machine; `pins` are the tested versions, by default those swiftbox requires."""
    tested = pinned() if pins is None else pins
    checks = [
        *_backend_checks(machine),
        *(_device_check(machine, device) for device in machine.devices),
        *_resource_checks(machine),
        *_package_checks(machine, tested),
        *_plugin_checks(machine),
        *_kernel_checks(machine),
        *_optional_packages(machine),
    ]
    return DoctorReport(tuple(checks))


def pinned() -> dict[str, str]:
    """Return the exact versions that swiftbox was tested with; none if it is not installed."""
    try:
        requirements = importlib.metadata.requires("swiftbox") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    pins = {}
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)==([\w.+]+)", requirement.split(";")[0].strip())
        if match and "extra" not in requirement:
            pins[match.group(1).replace("-", "_")] = match.group(2)
    return pins


def _backend_checks(machine: Machine) -> Iterator[DoctorCheck]:
    """Name the backend in use, and hardware that is not used with the reason."""
    toolkit = [f"{name} {machine.versions[name]}" for name in TOOLKITS if name in machine.versions]
    unused = [] if machine.devices else [BACKENDS[name] for name in machine.hardware]
    verdict = WARN if unused else OK
    yield DoctorCheck(text("backend", "后端"), ", ".join([machine.backend, *toolkit]), verdict)
    for backend in unused:
        yield _unused_hardware(machine, backend)


def _unused_hardware(machine: Machine, backend: Backend) -> DoctorCheck:
    name = text(f"{backend.name} hardware", f"{backend.name} 硬件")
    if not _torch_is_for(machine, backend):
        version = machine.versions.get("torch")
        if version is None:
            result = text("not used: torch is not installed", "未使用：未安装 torch")
        else:
            result = text(f"not used: torch is {version}", f"未使用：torch 为 {version}")
        return DoctorCheck(name, result, MISSING, torch_command(backend))
    reason = machine.trouble or text("torch finds no device", "torch 找不到设备")
    fix = text(f"check that `{backend.tool}` works", f"检查 `{backend.tool}` 能否正常输出")
    if backend.visible_devices_env:
        fix += text(
            f", that {backend.visible_devices_env} does not hide the devices",
            f"，{backend.visible_devices_env} 是否隐藏了设备",
        )
    if backend.container:
        fix += text(
            f", and that a container is started with {backend.container}",
            f"；容器启动时需加 {backend.container}",
        )
    return DoctorCheck(name, text(f"not used: {reason}", f"未使用：{reason}"), MISSING, fix)


def _torch_is_for(machine: Machine, backend: Backend) -> bool:
    """Return whether the installed torch was built for a backend, or has its plugin."""
    marks = ("torch", backend.plugin or "torch", backend.toolkit or "torch")
    return all(mark in machine.versions for mark in marks)


def torch_command(backend: Backend) -> str:
    """Return the commands that replace another build of torch by the backend's.

    For pip, 2.13.0+cpu satisfies 2.13.0: it would keep it, so it is removed first.
    """
    return f"pip uninstall -y torch && pip install {backend.install}"


def _device_check(machine: Machine, device: Device) -> DoctorCheck:
    name = text(f"device {device.index}", f"设备 {device.index}")
    free, total = size(device.free_bytes), size(device.memory_bytes)
    result = text(
        f"{device.name} ({device.capability}), {free} of {total} free",
        f"{device.name}（{device.capability}），共 {total}，可用 {free}",
    )
    backend = BACKENDS[machine.backend]
    if not built_for(device.capability, machine.versions.get("architectures", "").split()):
        result += text("; this torch has no kernels for it", "；当前 torch 不含它的内核")
        return DoctorCheck(name, result, WARN, backend.cell("torch_wheel").reason())
    if device.free_bytes < BUSY_SHARE * device.memory_bytes and backend.tool:
        fix = text(
            f"see with `{backend.tool}` who uses it, or select other devices with "
            f"{backend.visible_devices_env}",
            f"用 `{backend.tool}` 查看谁在使用，或用 {backend.visible_devices_env} 选择其他设备",
        )
        return DoctorCheck(name, result, WARN, fix)
    return DoctorCheck(name, result, OK)


def built_for(capability: str, architectures: list[str]) -> bool:
    """Return whether a torch built for these architectures has kernels for a device.

    sm_80 serves 8.0 and 8.6 (the same major); compute_90 is compiled at run time for all later.
    """
    number = re.fullmatch(r"(\d+)\.(\d)", capability)
    if not architectures or (number is None and capability in architectures):
        return True
    if number is None:
        return not capability.startswith("gfx")
    device = int(number.group(1)) * 10 + int(number.group(2))
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        built = int(re.sub(r"\D", "", digits) or 0)
        same_major = built // 10 == device // 10
        if built <= device and (same_major or kind == "compute"):
            return True
    return False


def _resource_checks(machine: Machine) -> Iterator[DoctorCheck]:
    features = " ".join(machine.cpu_features)
    cores = f"{machine.cores} {features}".strip()
    yield DoctorCheck(text("processor cores", "处理器核数"), cores, OK)
    free, total = size(machine.memory_free_bytes), size(machine.memory_bytes)
    little = machine.memory_bytes < LITTLE_MEMORY_BYTES
    yield DoctorCheck(
        text("main memory", "内存"),
        text(f"{free} of {total} free", f"共 {total}，可用 {free}"),
        WARN if little else OK,
        text("use models below one billion parameters", "请用十亿参数以下的模型") if little else "",
    )
    yield _disk_check(machine.disk_free_bytes)
    yield DoctorCheck("python", machine.versions.get("python", "?"), OK)


def _disk_check(free_bytes: int) -> DoctorCheck:
    name, free = text("disk", "磁盘"), size(free_bytes)
    result = text(f"{free} free in this folder", f"当前目录可用 {free}")
    if free_bytes >= LITTLE_DISK_BYTES:
        return DoctorCheck(name, result, OK)
    fix = text(
        "free some space, or set output_dir on another disk",
        "请腾出空间，或将 output_dir 设到其他磁盘",
    )
    return DoctorCheck(name, result, WARN, fix)


def _package_checks(machine: Machine, pins: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Compare the installed with the tested versions."""
    backend = BACKENDS[machine.backend]
    for name, version in pins.items():
        installed = machine.versions.get(name)
        fix = f"pip install {backend.install if name == 'torch' else f'{name}=={version}'}"
        if installed is None:
            yield DoctorCheck(name, _not_installed(), MISSING, fix)
        elif installed.split("+")[0] != version:
            result = text(f"{installed}, tested with {version}", f"{installed}，测试版本 {version}")
            yield DoctorCheck(name, result, WARN, fix)
        else:
            yield DoctorCheck(name, installed, OK)


def _not_installed() -> str:
    return text("not installed", "未安装")


def _plugin_checks(machine: Machine) -> Iterator[DoctorCheck]:
    """Compare the backend's plugin with torch: they must have the same version."""
    backend = BACKENDS[machine.backend]
    if not backend.plugin:
        return
    plugin = machine.versions.get(backend.plugin)
    torch = machine.versions.get("torch", "").split("+")[0]
    if plugin is not None and plugin.split(".post")[0] == torch:
        yield DoctorCheck(backend.plugin, plugin, OK)
        return
    result = (plugin or _not_installed()) + text(f", torch is {torch}", f"，torch 为 {torch}")
    yield DoctorCheck(backend.plugin, result, MISSING, f"pip install {backend.install}")


def _kernel_checks(machine: Machine) -> Iterator[DoctorCheck]:
    """List what trains faster and every device of this machine has, with versions of packages."""
    if not machine.devices:
        return
    backend = BACKENDS[machine.backend]
    present = []
    for name, capability in (*ATTENTION.items(), *FAST_KERNELS.items()):
        package = backend.cell(capability).package
        if not lacks(machine, capability) and (not package or package in machine.versions):
            present.append(f"{name} {machine.versions.get(package, '')}".rstrip())
    yield DoctorCheck(text("fast kernels", "加速内核"), ", ".join(present), OK)


def _optional_packages(machine: Machine) -> Iterator[DoctorCheck]:
    """Offer packages that swiftbox does not need, but that this machine would profit from."""
    backend = BACKENDS[machine.backend]
    offers = [
        ("flash_attention_2", ATTENTION["flash_attention_2"]),
        ("use_liger_kernel", FAST_KERNELS["liger"]),
    ]
    offers = offers if machine.devices else []
    if len(machine.devices) > 1:
        offers.append(("zero2, zero3", STRATEGIES["zero3"]))
    for name, capability in offers:
        cell = backend.cell(capability)
        if cell.package in machine.versions or not cell.install or lacks(machine, capability):
            continue
        result = text(f"not installed; needed only for {name}", f"未安装；仅 {name} 需要")
        yield DoctorCheck(cell.package, result, OK, f"pip install {cell.install}")
