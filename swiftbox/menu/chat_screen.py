"""The chat screens: the model to talk to, and a review that opens the chat in place of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swiftbox.config.chat import ChatConfig
from swiftbox.config.fields import cards
from swiftbox.devices.probe import Probe, without_torch
from swiftbox.language import text
from swiftbox.launch.disclosure import Disclosure
from swiftbox.launch.prepare import Prepared
from swiftbox.menu.draft import Draft, default_file_name, settings_beside
from swiftbox.menu.field_question import ask_field
from swiftbox.menu.options.comparisons import BASE
from swiftbox.menu.options.endpoints import active_deployments
from swiftbox.menu.questions import Back, select
from swiftbox.menu.review_screen import ReviewAction, TaskScreen, review
from swiftbox.models.requirements import Remark
from swiftbox.plan import Plan
from swiftbox.tasks.chat import effects, require_answerers, with_absolute_paths
from swiftbox.tasks.load import Loaded

FLAGS = {"adapter": "--adapter", "compare": "--compare", "system": "--system"}
"""Settings for which `swiftbox chat` has a flag."""


def open_chat(probe: Probe) -> Path | None:
    """Ask for the model to talk to, and review the chat; Back from the first question leaves."""
    choices: list[tuple[tuple[str, str], str]] = [
        (("endpoint", url), f"{url}  {run.name}") for run, url in active_deployments()
    ]
    choices += [
        (("adapter", ""), text("an adapter (with its base)", "适配器（连同其基座）")),
        (("model", ""), text("a model", "模型")),
        (("endpoint", ""), text("a server, by its address", "服务地址")),
    ]
    while True:
        key, value = select(text("Chat with what?", "与谁对话？"), choices)
        try:
            if not value:
                card = next(card for card in cards(ChatConfig) if card.name == key)
                value = ask_field(ChatConfig, replace(card, required=True), {}, probe.now)
            compared = {"compare": BASE} if key == "adapter" else {}
            return review(Draft(ChatConfig, {key: value, **compared}, machine=probe.now), SCREEN)
        except Back:
            continue


def prepare_chat(loaded: Loaded, _previous: Prepared | None) -> Prepared:
    """Check the participants; raise UserError for a model or an adapter that cannot answer."""
    remarks: list[Remark] = []
    config = with_absolute_paths(_chat_config(loaded))
    require_answerers(config, remarks.append)
    machine = without_torch(Path.cwd(), "")
    return Prepared(
        loaded,
        machine,
        Plan(config, (), {}, (), 1),
        remarks=tuple(map(str, remarks)),
        disclosure=Disclosure(effects(config), loaded.typed),
    )


def _chat_config(loaded: Loaded) -> ChatConfig:
    if not isinstance(loaded.config, ChatConfig):
        raise TypeError(loaded.config.task)
    return loaded.config


def chat(draft: Draft) -> None:
    """Chat until the user leaves."""
    from swiftbox.display.chat_session import converse

    try:
        converse(_chat_config(draft.loaded()))
    except KeyboardInterrupt:  # while the model is loaded
        raise Back from None


def chat_command(draft: Draft, loaded: Loaded) -> str:
    """Return the command line of a chat; settings without a flag go through a file."""
    values = {key: value for key, value in draft.values.items() if value is not None}
    target = values.get("endpoint") or values.get("model")
    if set(values) - {"endpoint", "model", *FLAGS} or {"endpoint", "model"} <= set(values):
        name = str(draft.file or default_file_name(loaded.config))
        settings = settings_beside("chat", loaded.config.model_dump(mode="json"))
        write = shlex.join(["swiftbox", "new", "chat", "-o", name, *settings])
        return f"{write} && swiftbox chat {shlex.quote(name)}"
    arguments = ["swiftbox", "chat", *([str(target)] if target else [])]
    for key, flag in FLAGS.items():
        if key in values:
            arguments += [flag, str(values[key])]
    return shlex.join(arguments)


def review_actions(draft: Draft, _prepared: Prepared | None) -> Sequence[ReviewAction]:
    """Offer to show the base beside an adapter, or to leave it out."""
    if "compare" in draft.values:
        title = text("do not compare", "不对比")
        return [ReviewAction(title, lambda draft: draft.without("compare"), "after run")]
    if not draft.values.get("adapter"):
        return []
    title = text("compare with its base", "与基座并排对比")
    return [ReviewAction(title, lambda draft: draft.with_values(compare=BASE), "after run")]


SCREEN = TaskScreen(
    run_title=("chat", "开始对话"),
    hidden_fields=("prompt",),
    command=chat_command,
    actions=review_actions,
    prepare=prepare_chat,
    open=chat,
)
