"""`swiftbox chat`: from the command line to a config, the servers it needs, and the terminal."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.chat import ChatConfig
from swiftbox.errors import ConfigError
from swiftbox.language import home, text
from swiftbox.runs import folder as run_folder

LIVELY = ("progress", "fetched", "missed", "warning")
"""Events of a server on its way that are worth showing beside that it is on its way."""


def chat(options: argparse.Namespace) -> int:
    """Chat with what is named."""
    return converse(config_of(options), message=options.message)


def config_of(options: argparse.Namespace) -> ChatConfig:
    """Return what the command line asks for; raise UserError for what is wrong."""
    from swiftbox.tasks.load import load, loads

    given = {
        "adapter": options.adapter,
        "system": options.system,
        "compare": options.compare,
    }
    settings = [f"{key}={_quoted(value)}" for key, value in given.items() if value is not None]
    target = options.target
    if target and "=" in target and "://" not in target and not Path(target).exists():
        settings.append(target)  # a setting, where no target was named
        target = None
    if target is not None and target.endswith((".yaml", ".yml")) and Path(target).is_file():
        loaded = load(Path(target), [*settings, *options.overrides])
    else:
        key = "endpoint" if target and "://" in target else "model"
        if target is None and options.adapter is None:
            target = newest()
        named = [f"{key}={_quoted(target)}"] if target else []
        content = "task: chat\n"
        loaded = loads(content, source="chat", overrides=[*named, *settings, *options.overrides])
    if not isinstance(loaded.config, ChatConfig):
        raise ConfigError(
            text(
                f"{target} is a task: {loaded.config.task}",
                f"{target} 的任务是 {loaded.config.task}",
            ),
            hint=f"swiftbox run {target}",
        )
    return loaded.config


def _quoted(value: str) -> str:
    """Return a text so that YAML reads it as that text."""
    return json.dumps(value, ensure_ascii=False)


def newest() -> str:
    """Return the newest run that can be talked to; raise ConfigError without one."""
    for run in run_folder.runs():
        model = run.folder / run_folder.MODEL
        whole = any((model / name).is_file() for name in ("config.json", "adapter_config.json"))
        if whole or (run.is_active and run.state.get("url")):
            return str(run.folder)
    raise ConfigError(
        text("with whom?", "与谁对话？"),
        hint=text(
            "name a run, a folder, an id or a URL: swiftbox chat runs/NAME",
            "请给出运行、目录、id 或 URL：swiftbox chat runs/NAME",
        ),
    )


def converse(config: ChatConfig, *, message: str | None = None) -> int:
    """Start what is needed, chat, and end it again; return the exit code."""
    from swiftbox.chat.terminal import one_answer, talk
    from swiftbox.devices.probe import probe, without_torch
    from swiftbox.tasks.chat import require_answerers, with_absolute_paths
    from swiftbox.tasks.checks import ignored
    from swiftbox.tasks.participants import answering, deployments, targets

    config = with_absolute_paths(config)
    require_answerers(config, ignored)
    own = deployments(config, targets(config))
    machine = probe(Path.cwd()) if own else without_torch(Path.cwd(), "")
    folder = home() / "chats" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    began = time.monotonic()
    view = _Starting([str(one.model) for one in own])
    with answering(config, folder, machine, stop=threading.Event(), on_event=view.event) as sides:
        view.ready(time.monotonic() - began)
        said: dict[str, Any] = {"system": config.system or "", "max_tokens": config.max_tokens}
        question = message or (config.prompt if isinstance(config.prompt, str) else None)
        code = one_answer(sides, question, **said) if question else talk(sides, **said)
        view.leave()
    shutil.rmtree(folder, ignore_errors=True)  # kept where it failed: its log says why
    return code


class _Starting:
    """Says that servers are on their way, and what they fetch."""

    def __init__(self, models: list[str]) -> None:
        from swiftbox.display.live import View

        self._view = View(plain=True)
        self._ready = False
        self._any = bool(models)
        if models:
            named = ", ".join(models)
            self._say(text(f"loading {named} ...", f"正在加载 {named} …"))

    def event(self, event: Mapping[str, Any]) -> None:
        """Take an event of a server."""
        if not self._ready and event.get("event") in LIVELY:
            self._view.event(event)

    def ready(self, seconds: float) -> None:
        """Say that it can begin."""
        self._ready = True
        if self._any:
            self._say(text(f"ready in {seconds:.0f} s", f"已就绪，用时 {seconds:.0f} 秒"))

    def leave(self) -> None:
        """Say what is still to be waited for, where somebody waits."""
        if self._any and sys.stdin.isatty():
            self._say(text("ending the server ...", "正在结束服务 …"))

    def _say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
