"""An interactive chat: starts the required servers, runs the conversation, stops the servers."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.config.chat import ChatConfig
from swiftbox.display.live import View
from swiftbox.formatting import duration
from swiftbox.language import home, text
from swiftbox.runs import events
from swiftbox.runs.events import Event
from swiftbox.security.printable import printable

if TYPE_CHECKING:  # a chat with a server elsewhere probes nothing
    from swiftbox.devices.machine import Machine

SHOWN_EVENTS = (events.PROGRESS, events.FETCHED, events.MISSED, events.WARNING)
"""Events of a starting server that are worth a line."""


def _agreed_before(_config: ChatConfig) -> None:
    """Accept a chat that was agreed to when it was reviewed."""


def converse(
    config: ChatConfig,
    *,
    message: str | None = None,
    agree: Callable[[ChatConfig], None] = _agreed_before,
) -> int:
    """Start the servers of a chat, run it, and stop the servers; return the exit code.

    `agree` gets the checked config before anything starts; it raises UserError to refuse. With a
    `message` (or a prompt in the config) one answer is printed instead of a conversation.
    """
    from swiftbox.chat.terminal import answer_once, talk
    from swiftbox.tasks.chat import require_answerers, with_absolute_paths
    from swiftbox.tasks.chat_servers import connected_participants, required_deployments
    from swiftbox.tasks.checks import ignored
    from swiftbox.tasks.names import name_remarks
    from swiftbox.tasks.participants import participant_sources

    name_remarks(config)  # raises for a folder spelled wrongly
    config = with_absolute_paths(config)
    require_answerers(config, ignored)
    agree(config)
    local = required_deployments(config, participant_sources(config))
    machine = _ready_machine(config, bool(local))
    folder = home() / "chats" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    start = ServerStart([str(deployment.model) for deployment in local])
    with connected_participants(
        config, folder, machine, stop=threading.Event(), on_event=start.event
    ) as participants:
        start.ready()
        prompt = message or (config.prompt if isinstance(config.prompt, str) else None)
        system, limit = config.system or "", config.max_tokens
        if prompt:
            code = answer_once(participants, prompt, system=system, max_tokens=limit)
        else:
            code = talk(participants, system=system, max_tokens=limit)
        start.leave()
    shutil.rmtree(folder, ignore_errors=True)  # kept after a failure: its log says why
    return code


def _ready_machine(config: ChatConfig, starts_servers: bool) -> Machine:
    """Return this machine with the engines of the servers installed, after asking.

    Raises MachineError without consent.
    """
    from swiftbox.devices.probe import probe, without_torch
    from swiftbox.engines.consent import ask, install_missing, require_engines_installable
    from swiftbox.tasks.chat import engines

    machine = probe(Path.cwd()) if starts_servers else without_torch(Path.cwd(), "")
    missing = require_engines_installable(engines(config, machine), machine.backend)
    install_missing(missing, ask)
    return machine


class ServerStart:
    """Shows the progress of starting servers on this machine."""

    def __init__(self, models: list[str]) -> None:
        self._view = View("deploy", plain=True)
        self._is_ready = False
        self._has_servers = bool(models)
        self._began = time.monotonic()
        if models:
            names = ", ".join(models)
            _say(text(f"loading {names} ...", f"正在加载 {names} …"))

    def event(self, event: Event) -> None:
        """Show an event of a server, until all of them are ready."""
        if not self._is_ready and event["event"] in SHOWN_EVENTS:
            self._view.event(event)

    def ready(self) -> None:
        """Report that the conversation can begin."""
        self._is_ready = True
        if self._has_servers:
            took = duration(time.monotonic() - self._began)
            _say(text(f"ready in {took}", f"已就绪，用时 {took}"))

    def leave(self) -> None:
        """Report that the servers are stopping, if a user is waiting for it."""
        if self._has_servers and sys.stdin.isatty():
            _say(text("stopping the server ...", "正在结束服务 …"))


def _say(line: str) -> None:
    sys.stderr.write(printable(line, lines=True) + "\n")
    sys.stderr.flush()
