"""What the models of each call format write for calls of two tools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from swiftbox.templates.call_formats.table import AnswerForm

PARAMETERS: dict[str, Any] = {
    "city": {"type": "string"},
    "zip": {"type": "string"},
    "days": {"type": "integer"},
    "wind": {"type": "boolean"},
    "units": {"type": "array", "items": {"type": "string"}},
    "place": {"type": "object"},
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": PARAMETERS},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "ping",
            "description": "Tells whether it answers",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]
FULL: dict[str, Any] = {
    "city": '北京 <b>"x"</b>\n{y}',
    "zip": "00123",
    "days": 3,
    "wind": True,
    "units": ["C", "m/s"],
    "place": {"lat": 1.5, "tags": []},
}
SHORT: dict[str, Any] = {"city": "Paris"}


def plain(value: Any) -> str:
    """Return a value between tags: texts as they are, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def hermes(name: str, arguments: dict[str, Any]) -> str:
    content = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{content}\n</tool_call>"


def coder(name: str, arguments: dict[str, Any]) -> str:
    lines = [f"<parameter={key}>\n{plain(value)}\n</parameter>" for key, value in arguments.items()]
    body = "\n".join([f"<function={name}>", *lines, "</function>"])
    return f"<tool_call>\n{body}\n</tool_call>"


def llama(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "parameters": arguments}, ensure_ascii=False)


def tagged_llama(name: str, arguments: dict[str, Any]) -> str:
    return f"<|python_tag|>{llama(name, arguments)}"


def mistral(name: str, arguments: dict[str, Any]) -> str:
    content = [{"name": name, "arguments": arguments, "id": "abcdefghi"}]
    return f"[TOOL_CALLS] {json.dumps(content, ensure_ascii=False)}"


def new_mistral(name: str, arguments: dict[str, Any]) -> str:
    return f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}"


def deepseek(name: str, arguments: dict[str, Any]) -> str:
    content = json.dumps(arguments, ensure_ascii=False)
    call = f"function<｜tool▁sep｜>{name}\n```json\n{content}\n```"
    return f"<｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜>"


def new_deepseek(name: str, arguments: dict[str, Any]) -> str:
    call = f"{name}<｜tool▁sep｜>{json.dumps(arguments)}"
    return f"<｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜>"


def glm(name: str, arguments: dict[str, Any]) -> str:
    lines = [
        f"<arg_key>{key}</arg_key>\n<arg_value>{plain(value)}</arg_value>\n"
        for key, value in arguments.items()
    ]
    return f"<tool_call>{name}\n{''.join(lines)}</tool_call>"


def new_glm(name: str, arguments: dict[str, Any]) -> str:
    return glm(name, arguments).replace("\n<arg_", "<arg_").replace("\n</tool", "</tool")


def harmony(name: str, arguments: dict[str, Any]) -> str:
    content = json.dumps(arguments, ensure_ascii=False)
    header = f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json"
    return f"{header}<|message|>{content}<|call|>"


def gemma(name: str, arguments: dict[str, Any]) -> str:
    return f"<|tool_call>call:{name}{_gemma_value(arguments)}<tool_call|>"


def _gemma_value(value: Any) -> str:
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_gemma_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_gemma_value, value)) + "]"
    return json.dumps(value)


def lfm(name: str, arguments: dict[str, Any]) -> str:
    values = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"<|tool_call_start|>[{name}({values})]<|tool_call_end|>"


@dataclass(frozen=True)
class Written:
    """How the models of a format write calls, and text that only resembles one."""

    format: str
    call: Any
    malformed: tuple[str, ...]
    between: str = "\n"
    around: tuple[str, str] = ("", "")

    def calls(self, *calls: tuple[str, dict[str, Any]]) -> str:
        opening, closing = self.around
        return opening + self.between.join(self.call(*call) for call in calls) + closing

    def text(self, content: str) -> str:
        """Return what a model writes for text before a call."""
        if self.format != "harmony":
            return f"{content}\n\n"
        return f"<|channel|>commentary<|message|>{content}<|end|>"

    @property
    def form(self) -> AnswerForm:
        return AnswerForm((self.format,))


BEGUN = ("<tool_call>", '<tool_call>{"name": "ping", "arguments": {', "a < b and <tool")
WRITTEN = {
    "hermes": Written(
        "hermes",
        hermes,
        (
            *BEGUN,
            "<tool_call>no JSON</tool_call> and on",
            '<tool_call>{"name": "ping", "arguments": {}</tool_call> and on',
            '<tool_call>{"arguments": {}}</tool_call>',
            '<tool_call>{"name": "ping", "arguments": {"a": NaN}}</tool_call>',
            '<tool_call>{"name": "ping", "arguments": {"a": 1e999}}</tool_call>',
            '<tool_call>{"name": "ping", "arguments": [1]}</tool_call>',
            f"<tool_call>{'[' * 1200}{']' * 1200}</tool_call>",
            "<tool_call>[1]</tool_call>",
        ),
    ),
    "qwen3_coder": Written(
        "qwen3_coder",
        coder,
        (
            *BEGUN,
            "<tool_call>\n<function=ping>\nno tag\n</function>\n</tool_call> and on",
            "<tool_call>\n<function=weather>\n<parameter=city>\nOslo",
            "<function=",
        ),
    ),
    "glm": Written(
        "glm",
        glm,
        (
            *BEGUN,
            "<tool_call>weather\n<arg_key>city</arg_key> Oslo </tool_call> and on",
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo",
        ),
    ),
    "glm 4.7": Written("glm", new_glm, ("<tool_call>two words</tool_call>",), ""),
    "llama3_json": Written(
        "llama3_json",
        llama,
        (
            '{"name": "Bob", "parameters": {}}',
            '{"name": "ping"}',
            '{"name": "ping", "parameters": {',
            '{"temperature": 3}',
            "{ x }",
            "{",
            'a {"name": "ping", "parameters": {}}',
        ),
        "; ",
    ),
    "llama3_json with a mark": Written(
        "llama3_json", tagged_llama, ("<|python_tag|>print(1)", "<|python_tag|>{", "<|python"), ""
    ),
    "mistral": Written(
        "mistral", mistral, ("[TOOL_CALLS] none", "[TOOL_CALLS] [{}]", "[TOOL_CALLS] ["), ""
    ),
    "mistral 11": Written("mistral", new_mistral, ("[TOOL_CALLS]ping[ARGS]{", "[TOOL_CALLS]"), ""),
    "deepseek": Written(
        "deepseek",
        deepseek,
        (
            "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜> and on",
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{<｜tool▁call▁end｜>x",
            "<｜tool▁",
        ),
        "\n",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    ),
    "deepseek 3.1": Written(
        "deepseek",
        new_deepseek,
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>[]<｜tool▁call▁end｜>",),
        "",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    ),
    "harmony": Written(
        "harmony",
        harmony,
        (
            "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{",
            "<|channel|>commentary to=python code<|message|>print(1)",
        ),
        "",
    ),
    "gemma4": Written(
        "gemma4",
        gemma,
        ("<|tool_call>call:ping{a}<tool_call|> and on", "<|tool_call>call:ping{", "<|tool"),
        "",
    ),
    "lfm2": Written(
        "lfm2",
        lfm,
        (
            "<|tool_call_start|>[ping(1)]<|tool_call_end|> and on",
            "<|tool_call_start|>[ping(a=open('x'))]<|tool_call_end|>",
            "<|tool_call_start|>[ping(a=",
        ),
        "",
    ),
}
"""Each format in its variants; a call ends at once where nothing stands between calls."""
