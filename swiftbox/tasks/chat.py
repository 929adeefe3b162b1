"""task: chat. Ask the prompts of a YAML and record the answers; `swiftbox chat` is interactive."""

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
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import STOP
from swiftbox.serving.questions import Participant, ask_all
from swiftbox.tasks import deploy
from swiftbox.tasks.chat_servers import connected_participants, require_key, required_deployments
from swiftbox.tasks.checks import OnRemark, absolute
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.participants import BASE_WORD, participant_sources
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Resolved, Task

ANSWERS = "answers.json"
"""File in the run folder: the prompts, and the answer of each participant."""


def resolve(config: ChatConfig, machine: Machine) -> Resolved:  # noqa: ARG001 - the signature of every task
    """Return the config unchanged: the servers that it needs are settled when they start."""
    return Resolved(config, (), 1, {})


def engines(config: ChatConfig, machine: Machine) -> tuple[str, ...]:
    """Return the engines of the servers that a chat starts."""
    if any(references_in(config.model_dump())):
        return ()  # the step that makes the model has asked for its engine
    deployments = required_deployments(config, participant_sources(config))
    names = [name for each in deployments for name in deploy.engines(each, machine)]
    return tuple(dict.fromkeys(names))


def with_absolute_paths(config: ChatConfig) -> ChatConfig:
    """Make the folders absolute, so that the record is complete."""
    changes = {}
    for key in ("model", "adapter", "compare"):
        name = getattr(config, key)
        at_endpoint = key == "model" and config.endpoint is not None
        if name and name != BASE_WORD and not at_endpoint and "://" not in name:
            folder = find_folder(name)
            # The folder of a deployment has no model: requests go to its address.
            is_folder = folder is not None and folder.is_dir()
            changes[key] = str(folder) if is_folder else absolute(name)
    return config.model_copy(update=changes)


def check(config: ChatConfig, on_remark: OnRemark) -> None:
    """Raise UserError without a prompt, or for a participant that cannot be started."""
    if config.prompt is None:
        raise ConfigError(
            text("prompt: required", "prompt：必填"),
            hint=text(
                "set prompt=..., or chat in a terminal: swiftbox chat FILE.yaml",
                "请设 prompt=...，或在终端对话：swiftbox chat FILE.yaml",
            ),
        )
    if not any(references_in(config.model_dump())):  # else they are checked once they exist
        require_answerers(config, on_remark)


def require_answerers(config: ChatConfig, on_remark: OnRemark) -> None:
    """Raise UserError for a model or adapter that cannot be served, or a key that is not set."""
    sources = participant_sources(config)
    for source in sources:
        if source.url and source.key_env:
            require_key(source.key_env)
    for deployment in required_deployments(config, sources):
        deploy.check(deploy.with_absolute_paths(deployment), on_remark)


def run(config: ChatConfig, folder: Path, emit: Emit) -> Path | None:
    """Ask every participant each prompt that has no recorded answer yet."""
    began = time.monotonic()
    machine = Machine.from_dict(read_record(folder / run_folder.MACHINE))
    prompts = as_list(config.prompt)
    answered: list[dict[str, Any]] = read_json(folder / ANSWERS).get("answers") or []
    STOP.can_save.set()  # each answer is recorded as it comes
    names = [source.name for source in participant_sources(config)]
    emit(events.STAGE, name="model", detail=", ".join(names))
    with connected_participants(config, folder, machine, stop=STOP.requested) as sides:
        for prompt in prompts[len(answered) :]:
            answers = ask(sides, config, prompt, STOP.requested)
            if STOP.requested.is_set():
                break
            answered.append({"prompt": prompt, "answers": answers})
            write_json(folder / ANSWERS, {"answers": answered})
            emit(events.ANSWER, prompt=prompt, answers=answers)
    if len(answered) < len(prompts):
        emit(events.STOPPED, step=None, answered=len(answered))
        return None
    seconds = round(time.monotonic() - began, 1)
    emit(events.DONE, seconds=seconds, answers=str(folder / ANSWERS))
    return folder


def ask(
    sides: list[Participant], config: ChatConfig, prompt: str, stop: threading.Event
) -> list[dict[str, Any]]:
    """Return the answer of each participant; raise RunError for one that fails."""
    messages = [{"role": "user", "content": prompt}]
    if config.system:
        messages.insert(0, {"role": "system", "content": config.system})
    answers = [{"name": side.name, "text": "", "finish": ""} for side in sides]
    for piece in ask_all(sides, [messages] * len(sides), config.max_tokens, stop):
        if piece.error:
            raise RunError(
                f"{sides[piece.participant].name}: {piece.error}",
                hint=text(
                    "check that its server is running: `swiftbox runs list`",
                    "请确认其服务正在运行：`swiftbox runs list`",
                ),
            )
        answer = answers[piece.participant]
        answer["text"] += piece.text
        answer["finish"] = piece.finish
        if piece.reasoning:
            answer["reasoning"] = answer.get("reasoning", "") + piece.reasoning
    return answers


def effects(config: ChatConfig) -> Effects:
    """Return what a chat executes, sends and writes outside its folder."""
    return effects_of(config)


def run_name(config: ChatConfig) -> str:
    """Name a chat after its model or adapter."""
    name = str(config.adapter or config.model or "endpoint")
    folder = Path(name)
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"chat-{name.lower()}"


def outputs(config: ChatConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of a chat: the file of answers."""
    return {"answers": lambda folder: str(folder / ANSWERS)}


CHAT: Task[ChatConfig] = Task(
    name="chat",
    discriminator="task",
    default="chat",
    config_classes={"chat": ChatConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    effects=effects,
    check=check,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    outputs=outputs,
)
