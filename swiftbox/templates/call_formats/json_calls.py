"""Call formats with JSON: Hermes and Qwen, Llama 3, Mistral, DeepSeek.

Models of one family write a call with small differences, all of which are read: an object or a
list of objects; `arguments` or `parameters`; with or without the closing mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swiftbox.templates.call_formats.arguments import Schemas, parsed_json
from swiftbox.templates.call_formats.call_format import (
    Call,
    CallFormat,
    JsonRegion,
    VllmParsers,
    call_of,
)

NAME = r"[^\s<>\[\]{}\"]+"


def _read(opening: re.Pattern[str], text: str) -> tuple[re.Match[str] | None, Any]:
    """Return the match before the JSON, and its value; no match if either is missing."""
    match = opening.match(text)
    if match is None:
        return None, None
    try:
        return match, parsed_json(text[match.end() :])
    except ValueError:
        return None, None


def _calls(value: Any) -> Sequence[Call]:
    """Return the calls of an object or a list of objects with name and arguments."""
    calls = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            return ()
        function = entry.get("function")
        fields = {**entry, **function} if isinstance(function, dict) else entry
        arguments = fields.get("arguments", fields.get("parameters"))
        call = call_of(fields.get("name"), {} if arguments is None else arguments, fields.get("id"))
        if call is None:
            return ()
        calls.append(call)
    return calls


# ---- Hermes and Qwen

_HERMES = re.compile(r"<tool_call>\s*(?=[\[{])")


def _read_hermes(text: str, _: Schemas) -> Sequence[Call]:
    return _calls(_read(_HERMES, text)[1])


HERMES = CallFormat(
    name="hermes",
    families="Hermes, Qwen2.5, Qwen3",
    opens=("<tool_call>",),
    region=lambda: JsonRegion(_HERMES, "</tool_call>", re.compile(r"<tool_call>\s*[^\s\[{]")),
    read=_read_hermes,
    vllm=VllmParsers({"": "hermes"}, "qwen3"),
    trailers=("</tool_call>",),
)

# ---- Llama 3

_LLAMA = re.compile(r"(?:<\|python_tag\|>)?\s*(?=\{\s*\"(?:name|type|function|parameters)\")")
_NOT_LLAMA = re.compile(
    r"\s*\{\s*(?:[^\s\"]|\"(?!name|type|function|parameters)[^\"]*\")|<\|python_tag\|>\s*[^\s{]"
)


def _read_llama(text: str, schemas: Schemas) -> Sequence[Call]:
    """Read a call; one without the mark is the call of a known tool, or it is an answer."""
    value = _read(_LLAMA, text)[1]
    calls = _calls(value)
    if text.lstrip().startswith("{"):
        has_arguments = isinstance(value, dict) and ("parameters" in value or "arguments" in value)
        return calls if has_arguments and all(call.name in schemas for call in calls) else ()
    return calls


LLAMA = CallFormat(
    name="llama3_json",
    families="Llama 3.1, 3.2, 3.3",
    opens=("<|python_tag|>",),
    region=lambda: JsonRegion(_LLAMA, impossible=_NOT_LLAMA),
    read=_read_llama,
    vllm=VllmParsers({"": "llama3_json"}, tokens=("<|python_tag|>",)),
    bare="{",
    trailers=(";",),
    stops=("<|eom_id|>",),
)

# ---- Mistral

_MISTRAL = re.compile(
    rf"\[TOOL_CALLS\]\s*(?:(?P<name>{NAME})(?:\[CALL_ID\](?P<id>\w+))?(?:\[ARGS\])?\s*(?=\{{)"
    r"|(?=[\[{]))"
)


def _read_mistral(text: str, _: Schemas) -> Sequence[Call]:
    match, value = _read(_MISTRAL, text)
    if match is None or match["name"] is None:
        return _calls(value)
    call = call_of(match["name"], value, match["id"])
    return () if call is None else [call]


MISTRAL = CallFormat(
    name="mistral",
    families="Mistral, Mixtral, Ministral, Magistral, Devstral",
    opens=("[TOOL_CALLS]",),
    region=lambda: JsonRegion(_MISTRAL),
    read=_read_mistral,
    vllm=VllmParsers({"": "mistral"}, tokens=("[TOOL_CALLS]",)),
    marks=("[CALL_ID]", "[ARGS]"),
)

# ---- DeepSeek

_ALL, _EACH, _SEPARATOR = "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"
_EACH_END, _ALL_END = "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"
_DEEPSEEK = re.compile(
    rf"(?:{_ALL}\s*)?{_EACH}\s*(?:function{_SEPARATOR}(?P<name>{NAME})\s*```json\s*"
    rf"|(?P<plain>{NAME}){_SEPARATOR}\s*)(?=\{{)"
)


def _read_deepseek(text: str, _: Schemas) -> Sequence[Call]:
    match, value = _read(_DEEPSEEK, text)
    call = None if match is None else call_of(match["name"] or match["plain"], value)
    return () if call is None else [call]


DEEPSEEK = CallFormat(
    name="deepseek",
    families="DeepSeek V3, R1, V3.1",
    opens=(_ALL, _EACH),
    region=lambda: JsonRegion(_DEEPSEEK, _EACH_END),
    read=_read_deepseek,
    vllm=VllmParsers(
        {"```json": "deepseek_v3", "": "deepseek_v31"},
        tokens=(_ALL, _EACH, _EACH_END, _ALL_END),
    ),
    trailers=(f"```{_EACH_END}", f"```\n{_EACH_END}", _EACH_END, _ALL_END),
    marks=(_SEPARATOR,),
)
