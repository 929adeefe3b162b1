"""Engines on first use: what a run needs that is not installed, and asking before it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import text
from swiftbox.tasks import TASKS

if TYPE_CHECKING:  # most runs need no engine
    from swiftbox.engines.engine import Engine
    from swiftbox.engines.environment import State

YES = ("y", "yes", "是", "好")


@dataclass(frozen=True)
class Missing:
    """An engine that a run needs and that is not whole."""

    engine: Engine
    state: State
    backend: str

    @property
    def command(self) -> str:
        """Return the command that installs it."""
        return f"swiftbox engines install {self.engine.name}"

    def line(self) -> str:
        """Say what is missing, what it is for, how large it is and how it is had."""
        why = self.state.reason or text("not installed", "未安装")
        return text(
            f"engine {self.engine.name} ({self.engine.what_for()}): {why}; "
            f"{self.room()}: {self.command}",
            f"引擎 {self.engine.name}（{self.engine.what_for()}）：{why}；"
            f"{self.room()}：{self.command}",
        )

    def room(self) -> str:
        """Say how much of the disk and of one's time it takes, and how well that is known."""
        return room(self.engine, self.backend)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        from swiftbox.engines.environment import disk_bytes

        return {
            "name": self.engine.name,
            "status": self.state.status,
            "reason": self.state.reason,
            "size_bytes": disk_bytes(self.engine, self.backend),
            "install": self.command,
        }


def room(engine: Engine, backend: str) -> str:
    """Say how much of the disk and of one's time an engine takes, and how well that is known."""
    from swiftbox.engines.environment import disk_bytes

    size = f"{disk_bytes(engine, backend) / 1e9:.1f} GB"
    minutes = f"{engine.minutes:g}"
    if backend in engine.measured:
        return text(f"{size} of disk, about {minutes} min", f"占用 {size}，约 {minutes} 分钟")
    return text(
        f"about {size} of disk (an estimate), about {minutes} min",
        f"占用约 {size}（估计值），约 {minutes} 分钟",
    )


Consent = Callable[[tuple[Missing, ...]], bool]
"""Whether what is missing shall be installed now."""


def missing(config: TaskConfig, machine: Machine) -> tuple[Missing, ...]:
    """Return the engines that a settled config needs and that are not whole."""
    names = TASKS[config.task].engines(config, machine)
    if not names:
        return ()
    from swiftbox.engines.environment import find

    backend = machine.backend
    found = [Missing(find(one), _state(one, backend), backend) for one in dict.fromkeys(names)]
    return tuple(one for one in found if one.state.status != "installed")


def _state(name: str, backend: str) -> State:
    """Look at an engine; one whose torch is of another backend is not whole for this one."""
    from swiftbox.engines.environment import find, state
    from swiftbox.engines.marker import read_marker

    found = state(name)
    made_for = read_marker(found.folder).get("backend", backend)
    if found.status != "installed" or not find(name).torch or made_for == backend:
        return found
    why = text(f"its torch is for {made_for}", f"其 torch 用于 {made_for}")
    return replace(found, status="incomplete", reason=why)


def require_possible(config: TaskConfig, machine: Machine) -> tuple[Missing, ...]:
    """Return what is missing; raise MachineError for an engine that cannot be had here."""
    found = missing(config, machine)
    if not found:
        return ()
    from swiftbox.engines.environment import require

    for one in found:
        require(one.engine, one.backend, one.state.folder)
    return found


def provide(config: TaskConfig, machine: Machine, consent: Consent) -> None:
    """Install what is missing when that is agreed to; else raise MachineError with the command."""
    found = missing(config, machine)
    if not found:
        return
    if not consent(found):
        raise MachineError(
            "\n".join(one.line() for one in found),
            hint=" && ".join(one.command for one in found)
            + text(", or --yes to install it now", "，或加 --yes 立即安装"),
        )
    from swiftbox.engines.environment import install

    for one in found:
        install(one.engine.name, one.backend, say=_say)


def refuse(_found: tuple[Missing, ...]) -> bool:
    """Install nothing that was not asked for."""
    return False


def agree(found: tuple[Missing, ...]) -> bool:
    """Install without asking, as --yes wants; say what."""
    for one in found:
        _say(one.line())
    return True


def ask(found: tuple[Missing, ...]) -> bool:
    """Ask in the terminal; where nobody can answer nothing is installed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    for one in found:
        _say(one.line())
    return confirm(text("Install it now?", "现在安装吗？"))


def confirm(question: str) -> bool:
    """Ask a question of yes and no in the terminal; yes is the default."""
    sys.stderr.write(f"{question} [Y/n] ")
    sys.stderr.flush()
    said = sys.stdin.readline()
    if not said:  # the terminal is gone
        return False
    return said.strip().lower() in ("", *YES)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
