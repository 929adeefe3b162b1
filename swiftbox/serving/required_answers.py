"""Answers whose form a request requires: JSON of a schema, or a call of a tool.

A required call is generated as JSON, whatever form the chat template writes calls in: of a tool
that the request names, the arguments alone; otherwise an object with the name and the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.core.generation.constraints import Grammar, GrammarError, compile_schema
from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.requests import ChatRequest
from swiftbox.templates.call_formats.answer_reader import AnswerParts, Reader
from swiftbox.templates.call_formats.arguments import parsed_json
from swiftbox.templates.call_formats.call_format import call_of
from swiftbox.templates.call_formats.harmony import HARMONY
from swiftbox.templates.call_formats.table import AnswerForm

RESPONSE_FORMAT, TOOL_CHOICE = "response_format", "tool_choice"
UNNAMED_KEYS = re.compile(r"Unimplemented keys: \[(.*)\]")


@dataclass(frozen=True)
class RequiredAnswer:
    """The schema of an answer, and the parameter that requires it."""

    param: str
    schema: Any
    tool: str = ""
    """The tool whose arguments the answer is; empty if it names the tool, or is content."""

    @property
    def is_call(self) -> bool:
        """Return whether the answer is a call."""
        return self.param == TOOL_CHOICE


def required_answer(request: ChatRequest) -> RequiredAnswer | None:
    """Return what an answer has to be; None if anything. Raises ApiError for a wrong request."""
    if (call := _required_call(request)) is not None:
        return call
    chosen = request.response_format
    kind = None if chosen is None else chosen.get("type")
    if chosen is None or kind == "text":
        return None
    if kind == "json_object":
        return RequiredAnswer(RESPONSE_FORMAT, {"type": "object"})
    content = chosen.get("json_schema")
    if kind != "json_schema" or not isinstance(content, dict):
        raise _wrong(
            RESPONSE_FORMAT,
            '{"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", "json_schema": '
            '{"name": ..., "schema": ...}}',
        )
    schema = content.get("schema", {"type": "object"})
    if not isinstance(schema, dict):
        raise ApiError(
            400, "response_format.json_schema.schema: should be an object", param=RESPONSE_FORMAT
        )
    return RequiredAnswer(RESPONSE_FORMAT, schema)


def _required_call(request: ChatRequest) -> RequiredAnswer | None:
    choice = request.tool_choice
    if choice in (None, "auto", "none"):
        return None
    parameters = _parameters(request.tools or [])
    if choice == "required":
        if not parameters:
            raise ApiError(400, "tool_choice: required needs tools", param=TOOL_CHOICE)
        return RequiredAnswer(TOOL_CHOICE, _any_call(parameters))
    name = _named(choice)
    if name is None:
        raise _wrong(
            TOOL_CHOICE,
            '"auto", "none", "required", or {"type": "function", "function": {"name": ...}}',
        )
    if name not in parameters:
        available = ", ".join(parameters) or "none"
        raise ApiError(
            400, f"tool_choice: no tool named {name}; tools: {available}", param=TOOL_CHOICE
        )
    return RequiredAnswer(TOOL_CHOICE, parameters[name], name)


def _named(choice: Any) -> str | None:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schemas of the parameters by the names of the tools."""
    functions = [tool.get("function", tool) for tool in tools]
    return {
        function["name"]: {"type": "object", **(function.get("parameters") or {})}
        for function in functions
        if isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("parameters") or {}, dict)
    }


def _any_call(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a call of any tool; references stay inside the schema of each tool."""
    definitions: dict[str, Any] = {}
    calls = []
    for number, (name, schema) in enumerate(parameters.items()):
        root = f"#/$defs/tool-{number}"
        definitions[f"tool-{number}"] = _with_root(schema, root)
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": {"$ref": root}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls, "$defs": definitions}


def _with_root(schema: Any, root: str) -> Any:
    """Return a schema whose references begin at another root than "#"."""
    if isinstance(schema, list):
        return [_with_root(entry, root) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _with_root(value, root) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference.removeprefix("#")
    return moved


def compiled(required: RequiredAnswer, form: AnswerForm, tokenizer: Any, ends: Ends) -> Grammar:
    """Compile the grammar of an answer; raise ApiError for what is not supported."""
    if HARMONY.name in form.formats:
        raise ApiError(
            400,
            f"{required.param}: not supported for answers in channels, as this template has them",
            param=required.param,
            code="unsupported",
        )
    after = form.think[1] if form.prefix else ""
    try:
        return compile_schema(required.schema, tokenizer, ends.vocabulary, ends.tokens, after=after)
    except GrammarError as error:
        raise ApiError(
            400,
            f"{required.param}: the schema is not supported: {_reason(str(error))}",
            param=required.param,
            code="unsupported",
        ) from None


@dataclass(frozen=True)
class Ends:
    """The tokens that end an answer, and how many tokens the model has."""

    tokens: frozenset[int]
    vocabulary: int


def _reason(message: str) -> str:
    """Return the keywords that a schema may not have, or the first line of the library's words."""
    if match := UNNAMED_KEYS.search(message):
        return f"keywords {match[1].replace(chr(34), '')}"
    lines = message.splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return [*errors, *lines[:1], "it is not valid"][0][:300]


def _wrong(param: str, expected: str) -> ApiError:
    return ApiError(400, f"{param}: should be {expected}", param=param)


@dataclass
class RequiredCallReader:
    """Reads an answer that is a call in JSON, after reasoning that the prompt has begun."""

    tool: str
    inner: Reader | None
    _content: str = field(default="", init=False)

    def feed(self, text: str) -> AnswerParts:
        """Take a further piece; only reasoning is certain before the end."""
        new = AnswerParts(content=text) if self.inner is None else self.inner.feed(text)
        return self._parts(new)

    def _parts(self, parts: AnswerParts) -> AnswerParts:
        self._content += parts.content
        return AnswerParts(reasoning=parts.reasoning)

    def finish(self) -> AnswerParts:
        """Return the call; an incomplete one is content."""
        rest = AnswerParts() if self.inner is None else self._parts(self.inner.finish())
        call = None
        try:
            content = parsed_json(self._content)
            if self.tool:
                call = call_of(self.tool, content)
            else:
                call = call_of(content.get("name"), content.get("arguments"))
        except (ValueError, AttributeError):
            pass
        if call is None:
            return AnswerParts(rest.reasoning, self._content)
        return AnswerParts(rest.reasoning, calls=(call,))
