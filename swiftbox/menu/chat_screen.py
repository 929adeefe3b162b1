"""The chat screens: with whom, and a review that opens the chat itself instead of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.config.chat import ChatConfig
from swiftbox.config.fields import cards
from swiftbox.config.writing import scalar
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.menu.draft import Draft, default_name
from swiftbox.menu.form import ask_field
from swiftbox.menu.options.benchmarks import deployments
from swiftbox.menu.questions import Back, select
from swiftbox.menu.review_screen import Extra, Screen, review
from swiftbox.models.requirements import Finding
from swiftbox.plan import Plan
from swiftbox.tasks.chat import require_answerers, with_absolute_paths
from swiftbox.tasks.load import Loaded

NAMED = {"adapter": "--adapter", "compare": "--compare", "system": "--system"}
"""Settings that the verb has options for."""


def begin(probe: Any) -> Path | None:
    """Ask with whom, and chat; Back from the first question returns home."""
    choices: list[tuple[tuple[str, str], str]] = [
        (("endpoint", url), f"{url}  {one.name}") for one, url in deployments()
    ]
    choices += [
        (("adapter", ""), text("an adapter, on its base", "适配器（连同其基座）")),
        (("model", ""), text("a model", "模型")),
        (("endpoint", ""), text("a server, by its address", "服务地址")),
    ]
    while True:
        key, value = select(text("Talk with whom?", "与谁对话？"), choices)
        try:
            if not value:
                card = next(one for one in cards(ChatConfig) if one.name == key)
                value = ask_field(ChatConfig, replace(card, required=True), {}, probe.now)
            beside = {"compare": "base"} if key == "adapter" else {}
            return review(Draft(ChatConfig, {key: value, **beside}, machine=probe.now), SCREEN)
        except Back:
            continue


def look(loaded: Loaded) -> Prepared:
    """Check who is to answer; raise UserError for a model or an adapter that cannot."""
    from swiftbox.devices.probe import without_torch

    remarks: list[Finding] = []
    config = with_absolute_paths(_chat(loaded))
    require_answerers(config, remarks.append)
    machine = without_torch(Path.cwd(), "")
    return Prepared(loaded, machine, Plan(config, (), {}, (), 1), remarks=tuple(map(str, remarks)))


def _chat(loaded: Loaded) -> ChatConfig:
    if not isinstance(loaded.config, ChatConfig):
        raise TypeError(loaded.config.task)
    return loaded.config


def talk(draft: Draft) -> None:
    """Chat until the user leaves."""
    from swiftbox.display.chat_session import converse

    try:
        converse(_chat(draft.loaded()))
    except KeyboardInterrupt:  # while it was being loaded
        raise Back from None


def command_of(draft: Draft, loaded: Loaded) -> str:
    """Return the command line that does what the menu does."""
    values = {key: value for key, value in draft.values.items() if value is not None}
    target = values.get("endpoint") or values.get("model")
    if set(values) - {"endpoint", "model", *NAMED} or {"endpoint", "model"} <= set(values):
        name = draft.file or default_name(loaded.config)
        settings = [f"{key}={scalar(value)}" for key, value in _unlike_preset(loaded).items()]
        made = shlex.join(["swiftbox", "new", "chat", "-o", str(name), *settings])
        return f"{made} && swiftbox chat {shlex.quote(str(name))}"
    words = ["swiftbox", "chat", *([str(target)] if target else [])]
    for key, option in NAMED.items():
        if key in values:
            words += [option, str(values[key])]
    return shlex.join(words)


def _unlike_preset(loaded: Loaded) -> dict[str, Any]:
    from swiftbox.config.presets import presets
    from swiftbox.tasks.load import load

    given = load(presets()["chat"]).config.model_dump(mode="json")
    wanted = loaded.config.model_dump(mode="json")
    return {key: value for key, value in wanted.items() if given[key] != value}


def extras(draft: Draft, _prepared: Prepared | None) -> Sequence[Extra]:
    """Offer the base beside an adapter, or to leave it out."""
    if not draft.values.get("adapter") and "compare" not in draft.values:
        return []
    if "compare" in draft.values:
        alone = text("without the other beside it", "不并排显示")
        return [Extra(alone, lambda one: _without(one, "compare"), "second")]
    beside = text("with its base beside it", "与基座并排")
    return [Extra(beside, lambda one: one.with_values(compare="base"), "second")]


def _without(draft: Draft, key: str) -> Draft:
    kept = {name: value for name, value in draft.values.items() if name != key}
    return replace(draft, values=kept, file=None)


SCREEN = Screen(
    run=("chat", "开始对话"),
    without=("prompt",),
    command=command_of,
    extras=extras,
    look=look,
    act=talk,
)
