"""Asking before a missing engine is installed: what it is for, its size, and the consent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from swiftbox.errors import MachineError
from swiftbox.formatting import duration, size
from swiftbox.language import text
from swiftbox.security.printable import printable

if TYPE_CHECKING:  # most runs need no engine
    from swiftbox.engines.engine import Engine
    from swiftbox.engines.state import EngineState

YES = ("y", "yes", "是", "好")


@dataclass(frozen=True)
class MissingEngine:
    """An engine that a run needs and that is not installed, or only in part."""

    engine: Engine
    state: EngineState
    backend: str

    @property
    def command(self) -> str:
        """Return the command that installs it."""
        return f"swiftbox engines install {self.engine.name}"

    def line(self) -> str:
        """Describe the engine in one line: purpose, state, size and install command."""
        reason = self.state.reason or text("not installed", "未安装")
        cost = install_cost(self.engine, self.backend)
        return text(
            f"engine {self.engine.name} ({self.engine.purpose()}): {reason}; "
            f"{cost}: {self.command}",
            f"引擎 {self.engine.name}（{self.engine.purpose()}）：{reason}；{cost}：{self.command}",
        )

    def coverage(self) -> str:
        """Say which of its packages are checked by hash."""
        from swiftbox.engines.lock import coverage

        return coverage(self.engine, self.backend)

    def to_dict(self) -> dict[str, Any]:
        """Return the engine as plain data for `--json`."""
        from swiftbox.engines.preconditions import disk_bytes

        return {
            "name": self.engine.name,
            "status": self.state.status,
            "reason": self.state.reason,
            "size_bytes": disk_bytes(self.engine, self.backend),
            "install": self.command,
        }


Consent = Callable[[tuple[MissingEngine, ...]], bool]
"""Decides whether the missing engines are installed now."""


def install_cost(engine: Engine, backend: str) -> str:
    """Describe the disk space and the time that an install takes; unmeasured sizes say so."""
    from swiftbox.engines.preconditions import disk_bytes

    space = size(disk_bytes(engine, backend))
    time = duration(60 * engine.minutes)
    if backend in engine.measured:
        return text(f"{space} of disk, about {time}", f"占用 {space}，约 {time}")
    return text(
        f"about {space} of disk (estimated), about {time}",
        f"占用约 {space}（估计值），约 {time}",
    )


def missing_engines(names: Iterable[str], backend: str) -> tuple[MissingEngine, ...]:
    """Return those of the named engines that are not fully installed for a backend."""
    required = tuple(dict.fromkeys(names))
    if not required:
        return ()
    from swiftbox.engines.state import engine_named

    engines = [
        MissingEngine(engine_named(name), _state(name, backend), backend) for name in required
    ]
    return tuple(engine for engine in engines if engine.state.status != "installed")


def _state(name: str, backend: str) -> EngineState:
    """Return the state of an engine; one whose torch is for another backend is incomplete."""
    from swiftbox.engines.state import engine_named, engine_state, read_marker

    installed = engine_state(name)
    built_for = read_marker(installed.folder).get("backend", backend)
    if installed.status != "installed" or not engine_named(name).torch or built_for == backend:
        return installed
    reason = text(f"its torch is for {built_for}", f"其 torch 用于 {built_for}")
    return replace(installed, status="incomplete", reason=reason)


def require_engines_installable(names: Iterable[str], backend: str) -> tuple[MissingEngine, ...]:
    """Return the missing engines; raise MachineError for one that cannot be installed here."""
    missing = missing_engines(names, backend)
    if not missing:
        return ()
    from swiftbox.engines.preconditions import require_installable

    for engine in missing:
        require_installable(engine.engine, engine.backend, engine.state.folder)
    return missing


def install_missing(missing: tuple[MissingEngine, ...], consent: Consent) -> None:
    """Install the missing engines; raise MachineError with the command if consent is refused."""
    if not missing:
        return
    if not consent(missing):
        raise MachineError(
            "\n".join(engine.line() for engine in missing),
            hint=" && ".join(engine.command for engine in missing)
            + text(", or --yes to install it now", "，或加 --yes 立即安装"),
        )
    from swiftbox.engines.install import install

    for engine in missing:
        install(engine.engine.name, engine.backend, say=_write)


def refuse(_missing: tuple[MissingEngine, ...]) -> bool:
    """Install nothing."""
    return False


def agree(missing: tuple[MissingEngine, ...]) -> bool:
    """Install without asking (`--yes`), after printing what is installed."""
    for engine in missing:
        _write(engine.line())
        _write(engine.coverage())
    return True


def ask(missing: tuple[MissingEngine, ...]) -> bool:
    """Ask in the terminal; without a terminal, install nothing."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    for engine in missing:
        _write(engine.line())
        _write(engine.coverage())
    return confirm(text("Install it now?", "现在安装吗？"))


def offer(engines: tuple[MissingEngine, ...]) -> bool:
    """Ask in the terminal whether to install engines that a run can do without."""
    for engine in engines:
        _write(engine.line())
        _write(engine.coverage())
    return confirm(offer_question(engines), default=False)


def offer_question(engines: tuple[MissingEngine, ...]) -> str:
    """Return the question whether to install engines that a run can do without."""
    names = text(", ", "、").join(engine.engine.name for engine in engines)
    return text(
        f"Install {names} and use it? Without it, the run uses what is installed.",
        f"安装并使用 {names} 吗？不安装则使用现有的。",
    )


def confirm(question: str, *, default: bool = True) -> bool:
    """Ask a yes-or-no question in the terminal; an empty answer means `default`."""
    sys.stderr.write(f"{question} [{'Y/n' if default else 'y/N'}] ")
    sys.stderr.flush()
    reply = sys.stdin.readline()
    if not reply:  # the terminal is gone
        return False
    answer = reply.strip().lower()
    return answer in YES or (default and not answer)


def _write(line: str) -> None:
    sys.stderr.write(printable(line, lines=True) + "\n")
    sys.stderr.flush()
