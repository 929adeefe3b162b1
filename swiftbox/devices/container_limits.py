"""The processors and memory that control groups allow this process (cgroup v1 and v2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class ContainerLimits:
    """The tightest limits between this process and the root; None for no limit."""

    cores: int | None = None
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None


def container_limits(root: Path = ROOT) -> ContainerLimits:
    """Read the limits of this process's own groups and of all groups above them.

    A batch system limits a group deep in the tree, a container the root that it sees.
    """
    cores: list[int] = []
    memory: list[int] = []
    free: list[int] = []
    for folder in _groups(root):
        if (quota := _quota(folder)) is not None:
            cores.append(max(1, quota))
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is not None:
            memory.append(limit)
            free.append(max(0, limit - _used(folder)))
    return ContainerLimits(*(min(limits, default=None) for limits in (cores, memory, free)))


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the groups this process is in, the innermost first."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller not in ("", "memory", "cpu"):
                continue
            top = mount / controller
            folder = top / path.lstrip("/")
            while folder != top:
                yield folder
                folder = folder.parent
            yield top


def _quota(folder: Path) -> int | None:
    """Return the processors of a group's quota: time allowed per period."""
    if quota := _text(folder / "cpu.max").split():
        allowed, period = quota[0], quota[-1]
    else:
        allowed = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
    if not (allowed.isdigit() and period.isdigit() and int(period)):
        return None
    return int(allowed) // int(period)


def _used(folder: Path) -> int:
    """Return the memory in use, without the file pages that the kernel can drop."""
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines())
    droppable = counts.get("total_inactive_file") or counts.get("inactive_file") or "0"
    return max(0, used - int(droppable))


def _number(path: Path) -> int | None:
    word = _text(path).strip()
    return int(word) if word.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
