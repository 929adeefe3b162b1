"""The sandbox of chat templates, made with jinja2 alone: it renders what transformers renders.

`transformers.utils.chat_template_utils` has the same filters, functions and limits; importing it
takes ten times as long. tests/templates/test_template_environment.py compares the two.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils
from jinja2.runtime import LoopContext

Span = tuple[int, int]


class _Tracker(threading.local):
    """The rendering of this thread whose generation blocks are recorded."""

    length = 0
    """Characters rendered before the block that is being rendered."""
    marks: list[Span] | None = None


_TRACKER = _Tracker()


class GenerationBlocks(jinja2.ext.Extension):
    """The tag `{% generation %}`: renders its content and records where it stands."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Any) -> Any:
        """Parse the tag as a call block."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller: Callable[[], str]) -> str:
        content = caller()
        if _TRACKER.marks is not None:
            _TRACKER.marks.append((_TRACKER.length, _TRACKER.length + len(content)))
        return content


class TemplateDict:
    """The function `dict` of templates, without the attributes of the class."""

    def __call__(self, *pairs: Any, **values: Any) -> dict[Any, Any]:
        """Return a dictionary."""
        return dict(*pairs, **values)

    def fromkeys(self, *keys: Any) -> dict[Any, Any]:
        """Return a dictionary with the keys."""
        return dict.fromkeys(*keys)


class TemplateNamespace(jinja2.utils.Namespace):
    """The namespace of templates; refuses names that begin with an underscore."""

    def __init__(*args: Any, **values: Any) -> None:
        self, args = args[0], args[1:]  # a template may name a value `self`
        attributes = dict(*args, **values)
        for name in attributes:
            TemplateNamespace._require_plain(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        TemplateNamespace._require_plain(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _require_plain(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(
                f"templates cannot store the attribute {name!r}, which begins with an underscore"
            )


MAPPING_ATTRIBUTES = frozenset(dir(dict))
PLAIN_TYPES = frozenset({str, int, float, bool, list, dict, type(None)})
TEXT_METHODS = frozenset(name for name in dir(str) if name[0] != "_") - {"format", "format_map"}
"""Methods that the sandbox gives to templates as they are; it replaces the other two."""


class ChatSandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox of transformers, faster for what templates do most.

    That is `message.role`, `ns.index`, `loop.first` and `content.strip()`. The result is the same:
    a mapping without the attribute is subscribed; a plain value of a namespace or a loop is
    neither a method nor private.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute of an object, or what it holds under that name."""
        kind = type(obj)
        if kind is dict and attribute not in MAPPING_ATTRIBUTES:
            try:
                return obj[attribute]
            except LookupError:
                return self.undefined(obj=obj, name=attribute)
        if kind is str and attribute in TEXT_METHODS:
            return getattr(obj, attribute)
        if kind in (TemplateNamespace, LoopContext) and not attribute.startswith("_"):
            value = getattr(obj, attribute, UNKNOWN)
            if type(value) in PLAIN_TYPES:
                return value
        return super().getattr(obj, attribute)


UNKNOWN = object()


def environment() -> jinja2.Environment:
    """Return a sandbox with the filters and functions of chat templates."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        x: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    sandbox = ChatSandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[GenerationBlocks, jinja2.ext.loopcontrols],
    )
    sandbox.filters["tojson"] = tojson
    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    sandbox.globals["dict"] = TemplateDict()
    sandbox.globals["namespace"] = TemplateNamespace
    return sandbox


@lru_cache(maxsize=128)
def compiled(source: str) -> jinja2.Template:
    """Return a template ready to render; raise jinja2.TemplateSyntaxError for a wrong one."""
    return environment().from_string(source)


def names_in(source: str) -> frozenset[str]:
    """Return the names of variables in a template, those that it sets as well."""
    return frozenset(node.name for node in environment().parse(source).find_all(jinja2.nodes.Name))


def render_marked(source: str, variables: Mapping[str, Any]) -> tuple[str, list[Span]]:
    """Render a template; return its text and the spans of its generation blocks."""
    parts: list[str] = []
    marks: list[Span] = []
    _TRACKER.length, _TRACKER.marks = 0, marks
    try:
        for part in compiled(source).generate(**variables):
            parts.append(part)
            _TRACKER.length += len(part)
    finally:
        _TRACKER.marks = None
    return "".join(parts), marks
