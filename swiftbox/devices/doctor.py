"""What this machine has, what it lacks, and the exact line that mends it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.language import text

OK, WARN, MISSING = "ok", "warn", "missing"

LITTLE_DISK_BYTES = 20 * 2**30
"""A 7B model in 16 bits is 15 GB; with less room than that little can be downloaded."""

LITTLE_MEMORY_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Line:
    """One thing looked at: what was found, whether that is well, what would mend it."""

    what: str
    found: str
    verdict: str
    cure: str = ""


@dataclass(frozen=True)
class Report:
    """All that the doctor found."""

    lines: tuple[Line, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return asdict(self)


def report(machine: Machine, pins: Mapping[str, str] | None = None) -> Report:
    """Describe a machine; `pins` are the tested versions, by default those swiftbox asks for."""
    wanted = pinned() if pins is None else pins
    lines = [*_device_lines(machine), *_room_lines(machine), *_package_lines(machine, wanted)]
    return Report(tuple(lines))


def pinned() -> dict[str, str]:
    """Return the exact versions that swiftbox was tested with."""
    found = {}
    for one in importlib.metadata.requires("swiftbox") or ():
        match = re.fullmatch(r"([\w.-]+)==([\w.+]+)", one.split(";")[0].strip())
        if match and "extra" not in one:
            found[match.group(1).replace("-", "_")] = match.group(2)
    return found


def _device_lines(machine: Machine) -> list[Line]:
    lines = [
        Line(
            text(f"device {one.index}", f"设备 {one.index}"),
            f"{one.name} {one.capability}, {_gib(one.free_bytes)} / {_gib(one.memory_bytes)}",
            OK,
        )
        for one in machine.devices
    ]
    backend = BACKENDS[machine.backend]
    what = text("backend", "后端")
    if machine.devices or not machine.hardware:
        return [Line(what, backend.name, OK), *lines]
    seen = machine.hardware[0]
    install = BACKENDS[seen].cells["torch_wheel"].install
    found = text(
        f"{seen} hardware is here, but this torch cannot use it",
        f"本机有 {seen} 硬件，但当前 torch 无法使用",
    )
    return [Line(what, found, MISSING, f"pip install {install}")]


def _room_lines(machine: Machine) -> list[Line]:
    features = " ".join(machine.cpu_features)
    memory = f"{_gib(machine.memory_free_bytes)} / {_gib(machine.memory_bytes)}"
    little_memory = machine.memory_bytes < LITTLE_MEMORY_BYTES
    little_disk = machine.disk_free_bytes < LITTLE_DISK_BYTES
    return [
        Line(text("cores", "CPU 核"), f"{machine.cores} {features}".strip(), OK),
        Line(
            text("memory free", "可用内存"),
            memory,
            WARN if little_memory else OK,
            text("little: use small models", "偏小：请用小模型") if little_memory else "",
        ),
        Line(
            text("disk free here", "此处可用磁盘"),
            _gib(machine.disk_free_bytes),
            WARN if little_disk else OK,
            text("little: set output_dir on another disk", "偏小：将 output_dir 设到其他磁盘")
            if little_disk
            else "",
        ),
        Line("python", machine.versions.get("python", "?"), OK),
    ]


def _package_lines(machine: Machine, pins: Mapping[str, str]) -> list[Line]:
    lines = []
    for name, version in pins.items():
        found = machine.versions.get(name)
        cure = f"pip install {name}=={version}"
        if found is None:
            lines.append(Line(name, text("not installed", "未安装"), MISSING, cure))
        elif found.split("+")[0] != version:
            tested = text(f"{found} (tested with {version})", f"{found}（测试版本 {version}）")
            lines.append(Line(name, tested, WARN, cure))
        else:
            lines.append(Line(name, found, OK))
    backend = BACKENDS[machine.backend]
    plugin = backend.row.plugin
    if plugin and plugin not in machine.versions:
        install = backend.cells["torch_wheel"].install
        lines.append(
            Line(plugin, text("not installed", "未安装"), MISSING, f"pip install {install}")
        )
    return lines


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def render(found: Report) -> Any:
    """Return a table of the report for a terminal of any width."""
    from rich import box
    from rich.table import Table

    marks = {OK: "ok", WARN: text("mind", "注意"), MISSING: text("missing", "缺少")}
    colours = {OK: "green", WARN: "yellow", MISSING: "red"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("", text("found", "检测结果"), "", text("what to do", "处理方法")):
        table.add_column(title, overflow="fold")
    for line in found.lines:
        mark = f"[{colours[line.verdict]}]{marks[line.verdict]}[/]"
        table.add_row(line.what, line.found, mark, line.cure)
    return table
