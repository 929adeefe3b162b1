"""Call formats with tags: Qwen3-Coder, GLM, Gemma 4, LFM 2.

Where a value is plain text between tags, its type is that of the tool's schema.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.templates.call_formats.arguments import Schemas, parsed_json, typed_arguments
from swiftbox.templates.call_formats.call_format import (
    Call,
    CallFormat,
    TaggedRegion,
    VllmParsers,
    call_of,
)

SPACE = r"\s{0,64}"
"""Space within an ending, which has a greatest length."""


@dataclass(frozen=True)
class TaggedParts:
    """The parts of a call whose arguments stand each between tags."""

    opening: re.Pattern[str]
    argument: re.Pattern[str]
    """One argument; the line breaks around its value are the tags'."""
    rest: re.Pattern[str]
    """All that may follow the arguments."""

    def read(self, text: str, schemas: Schemas) -> Sequence[Call]:
        """Return the call; none if the text is not one as a whole."""
        opening = self.opening.match(text)
        if opening is None:
            return ()
        values: dict[str, str] = {}
        at = opening.end()
        while match := self.argument.match(text, at):
            values[match["key"].strip()] = match["value"].removeprefix("\n").removesuffix("\n")
            at = match.end()
        if not self.rest.fullmatch(text, at):
            return ()
        name = opening["name"]
        return [Call(name, typed_arguments(values, schemas.get(name)))]


# ---- Qwen3-Coder, Qwen3.5, Nemotron 3

_CODER = re.compile(r"(?:<tool_call>\s*)?<function=(?P<name>[^<>\s]+)>")
_CODER_END = re.compile(
    rf"(?:</parameter>|<function=[^<>\s]{{1,256}}>){SPACE}</function>"
    rf"|</function>{SPACE}</tool_call>"
)
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<key>[^<>\n]+)>(?P<value>.*?)"
    r"(?:</parameter>(?=\s*(?:<parameter=|</function>))|(?=<parameter=)|(?=</function>))",
    re.DOTALL,
)
_CODER_PARTS = TaggedParts(_CODER, _PARAMETER, re.compile(r"\s*</function>\s*(?:</tool_call>)?\s*"))

QWEN_CODER = CallFormat(
    name="qwen3_coder",
    families="Qwen3-Coder, Qwen3.5, Qwen3.6, Nemotron 3",
    opens=("<tool_call>", "<function="),
    region=lambda: TaggedRegion(_CODER, _CODER_END, 512),
    read=_CODER_PARTS.read,
    vllm=VllmParsers({"": "qwen3_coder"}, "qwen3"),
    trailers=("</tool_call>",),
)

# ---- GLM

_GLM = re.compile(r"<tool_call>\s*(?P<name>[^<>\s{\[]+)\s*(?=<arg_key>|</tool_call>)")
_GLM_END = re.compile(
    rf"</arg_value>{SPACE}</tool_call>|<tool_call>{SPACE}[^<>\s]{{1,256}}{SPACE}</tool_call>"
)
_ARGUMENT = re.compile(
    r"\s*<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>"
    r"(?=\s*(?:<arg_key>|</tool_call>|\Z))",
    re.DOTALL,
)
_GLM_PARTS = TaggedParts(_GLM, _ARGUMENT, re.compile(r"\s*(?:</tool_call>)?\s*"))

GLM = CallFormat(
    name="glm",
    families="GLM 4.5, 4.6, 4.7",
    opens=("<tool_call>",),
    region=lambda: TaggedRegion(_GLM, _GLM_END, 512),
    read=_GLM_PARTS.read,
    vllm=VllmParsers({"\n<arg_key>": "glm45", "": "glm47"}, "glm45"),
    trailers=("</tool_call>",),
    marks=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    stops=("<|observation|>",),
)

# ---- Gemma 4

_QUOTE = '<|"|>'
_GEMMA = re.compile(r"<\|tool_call>\s*call:(?P<name>[^\s{}<>]+)\s*(?=\{)")
_GEMMA_END = re.compile(r"<tool_call\|>")
_BARE_KEY = re.compile(r"([{,]\s*)([^\s{}\[\],:\"]+)\s*:")


def _read_gemma(text: str, _: Schemas) -> Sequence[Call]:
    """Read a call in Gemma's JSON: bare keys, and texts between quotes that are a token."""
    opening = _GEMMA.match(text)
    if opening is None:
        return ()
    parts = text[opening.end() :].removesuffix("<tool_call|>").split(_QUOTE)
    parts[::2] = [_BARE_KEY.sub(r'\1"\2":', part) for part in parts[::2]]
    parts[1::2] = [json.dumps(part) for part in parts[1::2]]
    try:
        call = call_of(opening["name"], parsed_json("".join(parts)))
    except ValueError:
        return ()
    return () if call is None else [call]


GEMMA = CallFormat(
    name="gemma4",
    families="Gemma 4",
    opens=("<|tool_call>",),
    region=lambda: TaggedRegion(_GEMMA, _GEMMA_END),
    read=_read_gemma,
    vllm=VllmParsers({"": "gemma4"}, "gemma4", own_marks=True),
    trailers=("<tool_call|>",),
    marks=(_QUOTE,),
    stops=("<|tool_response>",),
)

# ---- LFM 2

_LFM = re.compile(r"<\|tool_call_start\|>\s*(?=\[)")
_LFM_END = re.compile(r"<\|tool_call_end\|>")
_CONSTANTS = {"true": True, "false": False, "null": None}
LONGEST_LIST = 100_000
"""Characters of calls in Python's syntax; Python's own parser reads them."""


def _read_lfm(text: str, _: Schemas) -> Sequence[Call]:
    """Read a list of calls in Python's syntax, whose values are literals."""
    opening = _LFM.match(text)
    if opening is None or len(text) > LONGEST_LIST:
        return ()
    try:
        source = text[opening.end() :].removesuffix("<|tool_call_end|>").strip()
        expressions = ast.parse(source, mode="eval").body
        if not isinstance(expressions, ast.List):
            return ()
        return [_python_call(expression) for expression in expressions.elts]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ()


def _python_call(expression: ast.expr) -> Call:
    if not isinstance(expression, ast.Call) or expression.args:
        raise ValueError("not a call by keywords")
    arguments: dict[str, Any] = {}
    for keyword in expression.keywords:
        if keyword.arg is None:
            raise ValueError("not a keyword")
        arguments[keyword.arg] = ast.literal_eval(_Constants().visit(keyword.value))
    call = call_of(ast.unparse(expression.func), json.loads(json.dumps(arguments, allow_nan=False)))
    if call is None:
        raise ValueError("no name")
    return call


class _Constants(ast.NodeTransformer):
    """Reads JSON's constants, which some templates write, as Python's."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Return the constant of a name; a name that is none stays, and is refused later."""
        return ast.Constant(_CONSTANTS[node.id]) if node.id in _CONSTANTS else node


LFM = CallFormat(
    name="lfm2",
    families="LFM 2, 2.5",
    opens=("<|tool_call_start|>",),
    region=lambda: TaggedRegion(_LFM, _LFM_END),
    read=_read_lfm,
    vllm=VllmParsers({"": "lfm2"}, tokens=("<|tool_call_start|>", "<|tool_call_end|>")),
    trailers=("<|tool_call_end|>",),
)
