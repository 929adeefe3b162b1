"""task: chat. Prompts of a YAML are asked and their answers kept; the terminal's chat is a verb."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.chat import ChatConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import references_in
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.models.location import find_folder
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.stop import STOP
from swiftbox.serving.talking import Side, together
from swiftbox.tasks import deploy
from swiftbox.tasks.checks import OnRemark, absolute
from swiftbox.tasks.participants import BASE_WORD, answering, deployments, targets
from swiftbox.tasks.task import Output, Resolved, Task

ANSWERS = "answers.json"
"""In the run folder: what was asked, and what each side answered."""


def resolve(config: ChatConfig, machine: Machine) -> Resolved:  # noqa: ARG001 - as every task
    """Leave it as it is: the servers it needs settle themselves when they are started."""
    return Resolved(config, (), 1, {})


def with_absolute_paths(config: ChatConfig) -> ChatConfig:
    """Name the folders, so that the record stands for itself."""
    changes = {}
    for key in ("model", "adapter", "compare"):
        name = getattr(config, key)
        at_endpoint = key == "model" and config.endpoint is not None
        if name and name != BASE_WORD and not at_endpoint and "://" not in name:
            found = find_folder(name)
            # A deployment has a folder and no model in it: it is talked to at its address.
            changes[key] = str(found) if found is not None and found.is_dir() else absolute(name)
    return config.model_copy(update=changes)


def check(config: ChatConfig, on_remark: OnRemark) -> None:
    """Raise UserError where nothing is asked, or who is to answer cannot be had."""
    if config.prompt is None:
        raise ConfigError(
            text("prompt: nothing to ask", "prompt：没有要问的内容"),
            hint=text(
                "give prompt=..., or chat at a terminal: swiftbox chat FILE.yaml",
                "请设 prompt=...，或在终端对话：swiftbox chat FILE.yaml",
            ),
        )
    if not any(references_in(config.model_dump())):  # else they are looked at when they are there
        require_answerers(config, on_remark)


def require_answerers(config: ChatConfig, on_remark: OnRemark) -> None:
    """Raise UserError for a model or adapter that cannot be served."""
    for one in deployments(config, targets(config)):
        deploy.check(deploy.with_absolute_paths(one), on_remark)


def run(config: ChatConfig, folder: Path, emit: Emit) -> Path | None:
    """Ask each prompt of all sides and keep the answers; go on after those that are there."""
    began = time.monotonic()
    machine = Machine.from_dict(read_json(folder / run_folder.MACHINE))
    prompts = as_list(config.prompt)
    found: list[dict[str, Any]] = read_json(folder / ANSWERS).get("answers") or []
    STOP.can_save.set()  # what was answered is kept
    emit(events.STAGE, name="model", detail=", ".join(one.name for one in targets(config)))
    with answering(config, folder, machine, stop=STOP.requested) as sides:
        for prompt in prompts[len(found) :]:
            told = ask(sides, config, prompt, STOP.requested)
            if STOP.requested.is_set():
                break
            found.append({"prompt": prompt, "answers": told})
            write_json(folder / ANSWERS, {"answers": found})
            emit(events.ANSWER, prompt=prompt, answers=told)
    if len(found) < len(prompts):
        emit(events.STOPPED, step=None, answered=len(found))
        return None
    seconds = round(time.monotonic() - began, 1)
    emit(events.DONE, seconds=seconds, answers=str(folder / ANSWERS))
    return folder


def ask(
    sides: list[Side], config: ChatConfig, prompt: str, stop: threading.Event
) -> list[dict[str, Any]]:
    """Return what each side answers; raise RunError for one that cannot."""
    messages = [{"role": "user", "content": prompt}]
    if config.system:
        messages.insert(0, {"role": "system", "content": config.system})
    told = [{"name": one.name, "text": "", "finish": ""} for one in sides]
    for piece in together(sides, [messages] * len(sides), config.max_tokens, stop):
        if piece.error:
            raise RunError(f"{sides[piece.side].name}: {piece.error}")
        told[piece.side]["text"] += piece.text
        told[piece.side]["finish"] = piece.finish
    return told


def run_name(config: ChatConfig) -> str:
    """Name it by who answers."""
    name = str(config.adapter or config.model or "endpoint")
    folder = Path(name)
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"chat-{name.lower()}"


def outputs(config: ChatConfig) -> Mapping[str, Output]:  # noqa: ARG001 - as every task
    """Name the answers."""
    return {"answers": lambda folder: str(folder / ANSWERS)}


CHAT: Task[ChatConfig] = Task(
    name="chat",
    discriminator="task",
    default="chat",
    config_classes={"chat": ChatConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    check=check,
    with_absolute_paths=with_absolute_paths,
    outputs=outputs,
)
