"""Conversations for tests of chat templates, and the templates of trl's wheel."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from swiftbox.data.example import Turn
from swiftbox.templates.template import ConversationTemplate

SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city"}},
            "required": ["city"],
        },
    },
}


@cache
def wheel_folder() -> Path:
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "chat_templates"


def wheel_names(*, training: bool = False) -> list[str]:
    names = sorted(path.stem for path in wheel_folder().glob("*.jinja"))
    return [name for name in names if name.endswith("_training") == training]


@cache
def wheel_source(name: str) -> str:
    return (wheel_folder() / f"{name}.jinja").read_text("utf-8")


def wheel_template(name: str, **variables: Any) -> ConversationTemplate:
    return ConversationTemplate(wheel_source(name), SPECIAL, variables, name)


def user(content: str) -> Turn:
    return Turn("user", content)


def system(content: str) -> Turn:
    return Turn("system", content)


def answer(content: str, *calls: Any, reasoning: str = "", weight: float = 1.0) -> Turn:
    extra = (("reasoning_content", reasoning),) if reasoning else ()
    return Turn("assistant", content, calls, extra, weight)


def call(city: str, *, as_text: bool = False) -> dict[str, Any]:
    arguments: Any = {"city": city, "days": 2, "wind": True}
    arguments = json.dumps(arguments) if as_text else arguments
    function = {"name": "weather", "arguments": arguments}
    return {"id": f"call{city}0", "type": "function", "function": function}


def result(content: str, city: str) -> Turn:
    return Turn("tool", content, (), (("name", "weather"), ("tool_call_id", f"call{city}0")))


def server_prompt(source: str, messages: list[Any], tools: list[Any], **variables: Any) -> str:
    """Return the prompt that transformers renders, which our server uses."""
    texts, _ = render_jinja_template(
        [messages],
        tools or None,
        chat_template=source,
        add_generation_prompt=True,
        **SPECIAL,
        **variables,
    )
    return str(texts[0])


def learned(example: Any) -> list[str]:
    """Return the learned texts of a rendered example in order."""
    return [
        rendering.text[span.start : span.end]
        for rendering in example.renderings
        for span in rendering.spans
    ]
