"""`swiftbox chat`: from the command line to the config of a chat."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from swiftbox.cli.agreement import ask_of, show
from swiftbox.config.chat import ChatConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.load import Loaded, load, loads

WEIGHTS = ("config.json", "adapter_config.json", "model.gguf")
"""One of these stands in the folder of a finished model or adapter."""


def chat(options: argparse.Namespace) -> int:
    """Chat with the named model, run, file or server; return the exit code."""
    from swiftbox.display.chat_session import converse

    loaded = _loaded(options)

    def agree(config: ChatConfig) -> None:
        from swiftbox.launch.disclosure import Disclosure, require_agreement
        from swiftbox.tasks.chat import effects

        disclosure = Disclosure(effects(config), loaded.typed)
        show(disclosure)
        require_agreement(disclosure, ask_of(options))

    return converse(config_of(options, loaded), message=options.message, agree=agree)


def config_of(options: argparse.Namespace, loaded: Loaded | None = None) -> ChatConfig:
    """Return the config that the command line describes; raise UserError for what is wrong."""
    loaded = loaded or _loaded(options)
    if isinstance(loaded.config, ChatConfig):
        return loaded.config
    target, task = options.target, loaded.config.task
    raise ConfigError(
        text(f"{target} is a YAML of task: {task}", f"{target} 的任务是 {task}"),
        hint=f"swiftbox run {target}",
    )


def _loaded(options: argparse.Namespace) -> Loaded:
    target: str | None = options.target
    overrides = [*_settings(options), *options.overrides]
    if target and "=" in target and "://" not in target and not Path(target).exists():
        target, overrides = None, [*_settings(options), target, *options.overrides]
    if target and target.endswith((".yaml", ".yml")) and Path(target).is_file():
        return load(Path(target), overrides)
    key = "endpoint" if target and "://" in target else "model"
    if target is None and options.adapter is None:
        target = newest()
    participant = [_setting(key, target)] if target else []
    return loads("task: chat\n", source="chat", overrides=[*participant, *overrides])


def _settings(options: argparse.Namespace) -> list[str]:
    """Return the settings that have an option of the verb."""
    values = {name: getattr(options, name) for name in ("adapter", "system", "compare")}
    return [_setting(key, value) for key, value in values.items() if value is not None]


def _setting(key: str, value: str) -> str:
    """Return `key=value`, quoted so that YAML reads the value as text."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def newest() -> str:
    """Return the newest run that can answer; raise ConfigError without one."""
    for run in run_folder.runs():
        model = run.folder / run_folder.MODEL
        is_finished = any((model / name).is_file() for name in WEIGHTS)
        if is_finished or run.url:
            return str(run.folder)
    raise ConfigError(
        text("no model named, and no run to chat with", "未指定模型，也没有可对话的运行"),
        hint=text(
            "name a run, a folder, an id or a URL: swiftbox chat runs/NAME",
            "请给出运行、目录、id 或 URL：swiftbox chat runs/NAME",
        ),
    )
