"""What this machine has, what it lacks, and the exact line that mends it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swiftbox.devices.backends import ATTENTION, BACKENDS, STRATEGIES, Backend
from swiftbox.devices.choices import lacks
from swiftbox.devices.machine import Device, Machine
from swiftbox.errors import MachineError
from swiftbox.language import text

OK, WARN, MISSING = "ok", "warn", "missing"

LITTLE_DISK_BYTES = 20 * 2**30
"""A 7B model in 16 bits is 15 GB; with less room than that little can be downloaded."""

LITTLE_MEMORY_BYTES = 8 * 2**30
"""Half a billion float32 weights with their gradients and AdamW's two moments are 8 GB."""

TOOLKITS = ("cuda", "hip", "cann", "macos", "driver")

BUSY_SHARE = 0.5
"""With less of a device's memory free than this, somebody else is at work on it."""


@dataclass(frozen=True)
class DoctorCheck:
    """One thing looked at: what was found, whether that is well, what would mend it."""

    what: str
    found: str
    verdict: str
    cure: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All that the doctor found."""

    lines: tuple[DoctorCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return asdict(self)


def examine(folder: Path) -> DoctorReport:
    """Look at this machine, also when torch cannot be asked; `folder` is where runs would be."""
    from swiftbox.devices.probe import probe, without_torch

    try:
        machine = probe(folder)
    except MachineError as error:
        machine = without_torch(folder, error.message)
    return report(machine)


def report(machine: Machine, pins: Mapping[str, str] | None = None) -> DoctorReport:
    """Describe a machine; `pins` are the tested versions, by default those swiftbox asks for."""
    wanted = pinned() if pins is None else pins
    lines = [
        *_backend_lines(machine),
        *(_device_line(machine, one) for one in machine.devices),
        *_room_lines(machine),
        *_package_lines(machine, wanted),
        *_option_lines(machine),
    ]
    return DoctorReport(tuple(lines))


def pinned() -> dict[str, str]:
    """Return the exact versions that swiftbox was tested with; none where it is not installed."""
    try:
        requirements = importlib.metadata.requires("swiftbox") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = {}
    for one in requirements:
        match = re.fullmatch(r"([\w.-]+)==([\w.+]+)", one.split(";")[0].strip())
        if match and "extra" not in one:
            found[match.group(1).replace("-", "_")] = match.group(2)
    return found


def _backend_lines(machine: Machine) -> Iterator[DoctorCheck]:
    """Say which backend is used, and which hardware stays unused and why."""
    toolkit = [f"{name} {machine.versions[name]}" for name in TOOLKITS if name in machine.versions]
    unused = [] if machine.devices else [BACKENDS[name] for name in machine.hardware]
    verdict = WARN if unused else OK
    yield DoctorCheck(text("backend", "后端"), ", ".join([machine.backend, *toolkit]), verdict)
    for backend in unused:
        yield _unused_line(machine, backend)


def _unused_line(machine: Machine, backend: Backend) -> DoctorCheck:
    here = text(f"{backend.name} hardware", f"{backend.name} 硬件")
    if not _torch_is_for(machine, backend):
        built = machine.versions.get("torch", text("no torch", "没有 torch"))
        found = text(f"not used: torch is {built}", f"未使用：torch 为 {built}")
        return DoctorCheck(here, found, MISSING, torch_line(backend))
    why = machine.trouble or text("torch finds no device", "torch 找不到设备")
    cure = text(f"see whether `{backend.tool}` answers", f"看 `{backend.tool}` 是否有输出")
    if backend.visible_devices_env:
        cure += text(
            f", whether {backend.visible_devices_env} hides it",
            f"，{backend.visible_devices_env} 是否将其隐藏",
        )
    if backend.container:
        cure += text(
            f", and start a container with {backend.container}",
            f"；容器启动时需加 {backend.container}",
        )
    return DoctorCheck(here, text(f"not used: {why}", f"未使用：{why}"), MISSING, cure)


def _torch_is_for(machine: Machine, backend: Backend) -> bool:
    """Tell whether the installed torch was built for a backend, or has its plugin."""
    marks = ("torch", backend.plugin or "torch", backend.toolkit or "torch")
    return all(mark in machine.versions for mark in marks)


def torch_line(backend: Backend) -> str:
    """Return the commands that put the backend's torch in the place of another build.

    pip takes 2.13.0+cpu for 2.13.0 and would leave it, so it is removed first.
    """
    return f"pip uninstall -y torch && pip install {backend.install}"


def _device_line(machine: Machine, device: Device) -> DoctorCheck:
    what = text(f"device {device.index}", f"设备 {device.index}")
    found = text(
        f"{device.name} ({device.capability}), "
        f"{_gib(device.free_bytes)} of {_gib(device.memory_bytes)} free",
        f"{device.name}（{device.capability}），"
        f"{_gib(device.memory_bytes)} 中可用 {_gib(device.free_bytes)}",
    )
    backend = BACKENDS[machine.backend]
    if not built_for(device.capability, machine.versions.get("architectures", "").split()):
        found += text("; this torch has no kernels for it", "；当前 torch 没有它的内核")
        return DoctorCheck(what, found, WARN, backend.cell("torch_wheel").reason())
    if device.free_bytes < BUSY_SHARE * device.memory_bytes and backend.tool:
        cure = text(
            f"see with `{backend.tool}` who uses it, or choose others by "
            f"{backend.visible_devices_env}",
            f"用 `{backend.tool}` 查看谁在使用，或用 {backend.visible_devices_env} 选择其他设备",
        )
        return DoctorCheck(what, found, WARN, cure)
    return DoctorCheck(what, found, OK)


def built_for(capability: str, architectures: list[str]) -> bool:
    """Tell whether a torch built for these architectures has kernels for a device.

    sm_80 serves 8.0 and 8.6 (the same major); compute_90 is compiled on the spot for all later.
    """
    number = re.fullmatch(r"(\d+)\.(\d)", capability)
    if not architectures or (number is None and capability in architectures):
        return True
    if number is None:
        return not capability.startswith("gfx")
    mine = int(number.group(1)) * 10 + int(number.group(2))
    for one in architectures:
        kind, _, digits = one.partition("_")
        theirs = int(re.sub(r"\D", "", digits) or 0)
        same_major = theirs // 10 == mine // 10
        if theirs <= mine and (same_major or kind == "compute"):
            return True
    return False


def _room_lines(machine: Machine) -> Iterator[DoctorCheck]:
    features = " ".join(machine.cpu_features)
    yield DoctorCheck(
        text("processor cores", "处理器核数"), f"{machine.cores} {features}".strip(), OK
    )
    little = machine.memory_bytes < LITTLE_MEMORY_BYTES
    free, total = _gib(machine.memory_free_bytes), _gib(machine.memory_bytes)
    yield DoctorCheck(
        text("main memory", "内存"),
        text(f"{free} of {total} free", f"{total} 中可用 {free}"),
        WARN if little else OK,
        text("use models below one billion parameters", "请用十亿参数以下的模型") if little else "",
    )
    little = machine.disk_free_bytes < LITTLE_DISK_BYTES
    yield DoctorCheck(
        text("disk", "磁盘"),
        text(
            f"{_gib(machine.disk_free_bytes)} free here",
            f"此处可用 {_gib(machine.disk_free_bytes)}",
        ),
        WARN if little else OK,
        text(
            "make room, or set output_dir on another disk",
            "请腾出空间，或将 output_dir 设到其他磁盘",
        )
        if little
        else "",
    )
    yield DoctorCheck("python", machine.versions.get("python", "?"), OK)


def _package_lines(machine: Machine, pins: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Compare what is installed with the tested versions, and the plugin with torch."""
    backend = BACKENDS[machine.backend]
    absent = text("not installed", "未安装")
    for name, version in pins.items():
        found = machine.versions.get(name)
        cure = f"pip install {backend.install if name == 'torch' else f'{name}=={version}'}"
        if found is None:
            yield DoctorCheck(name, absent, MISSING, cure)
        elif found.split("+")[0] != version:
            tested = text(f"{found}, tested with {version}", f"{found}，测试版本 {version}")
            yield DoctorCheck(name, tested, WARN, cure)
        else:
            yield DoctorCheck(name, found, OK)
    if not backend.plugin:
        return
    theirs = machine.versions.get(backend.plugin)
    mine = machine.versions.get("torch", "").split("+")[0]
    fits = theirs is not None and theirs.split(".post")[0] == mine
    found = theirs or absent
    if not fits:
        found += text(f", torch is {mine}", f"，torch 为 {mine}")
    yield DoctorCheck(
        backend.plugin,
        found,
        OK if fits else MISSING,
        "" if fits else f"pip install {backend.install}",
    )


def _option_lines(machine: Machine) -> Iterator[DoctorCheck]:
    """Offer what swiftbox can do without, where this machine would gain by it."""
    backend = BACKENDS[machine.backend]
    offers = [("flash_attention_2", ATTENTION["flash_attention_2"])] if machine.devices else []
    if len(machine.devices) > 1:
        offers.append(("zero2, zero3", STRATEGIES["zero3"]))
    for name, capability in offers:
        cell = backend.cell(capability)
        if cell.package in machine.versions or not cell.install or lacks(machine, capability):
            continue
        found = text(f"not installed; only for {name}", f"未安装；仅用于 {name}")
        yield DoctorCheck(cell.package, found, OK, f"pip install {cell.install}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def continued(command: str, width: int) -> list[str]:
    """Break a command where it would pass the width, so that it still runs when copied."""
    lines, line = [], ""
    for word in command.split(" "):
        longer = f"{line} {word}" if line else word
        if line and len(longer) + len(" \\") > width:
            lines.append(f"{line} \\")
            longer = f"  {word}"
        line = longer
    return [*lines, line]


@dataclass(frozen=True)
class _Cure:
    """A cure that fits the terminal: a command is broken as a shell reads it, prose at words."""

    cure: str

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.padding import Padding
        from rich.text import Text

        shown = self.cure
        if shown.startswith("pip "):
            shown = "\n".join(continued(shown, options.max_width - 4))
        yield Padding(Text(shown), (0, 0, 0, 4))


def render(found: DoctorReport) -> Any:
    """Return a table of the report and the cures below it, for a terminal of any width."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    marks = {
        OK: (text("ok", "正常"), "green"),
        WARN: (text("mind", "注意"), "yellow"),
        MISSING: (text("missing", "缺少"), "red"),
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(text("found", "检测结果"), overflow="fold")
    table.add_column("", no_wrap=True)
    for line in found.lines:
        table.add_row(Text(line.what), Text(line.found), Text(*marks[line.verdict]))
    parts: list[Any] = [table]
    for title, verdicts in (
        (text("What to do", "处理方法"), (MISSING, WARN)),
        (text("Optional", "可选"), (OK,)),
    ):
        cures = [line for line in found.lines if line.cure and line.verdict in verdicts]
        if cures:
            parts.append(Text(title, style="bold"))
        for line in cures:
            parts.append(Text(f"  {line.what}:"))
            parts.append(_Cure(line.cure))
    return Group(*parts)
