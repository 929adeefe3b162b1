"""A chat template with all it needs to render a conversation as transformers and our server do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import jinja2

from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.security.printable import printable
from swiftbox.security.template_environment import Span, compiled, names_in, render_marked
from swiftbox.templates.limits import RenderingTooLong, TimeLimit, explained, require_length

REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""Names of a message's reasoning; the first is the usual one."""

MARKS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")

Message = Mapping[str, Any]

Rendered = TypeVar("Rendered")


class TemplateRefusal(Exception):
    """A template refuses a conversation, or fails on it; the message is the template's own."""


@dataclass(frozen=True)
class ConversationTemplate:
    """A chat template, its special tokens and the variables that are set for it.

    `owner` is its name in messages. `tool_source` is the template for conversations with tools
    where a model has a separate one.
    """

    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    tool_source: str = ""

    @staticmethod
    def of_tokenizer(
        tokenizer: Any, variables: Mapping[str, Any] | None = None
    ) -> ConversationTemplate:
        """Return the template of a loaded tokenizer; raise DataError if it has none to use."""
        owner = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        templates = tokenizer.chat_template
        if isinstance(templates, str) or not templates:
            templates = {"default": templates} if templates else {}
        return named_templates(templates, dict(tokenizer.special_tokens_map), variables, owner)

    @cached_property
    def is_marked(self) -> bool:
        """Whether the template marks what the assistant generates."""
        return MARKS.search(self.source) is not None

    def names(self) -> frozenset[str]:
        """Return the names of variables in the template."""
        return names_in(self.source) | names_in(self.tool_source)

    def with_variables(self, variables: Mapping[str, Any]) -> ConversationTemplate:
        """Return the template with further variables set."""
        merged = {**self.variables, **variables}
        return ConversationTemplate(
            self.source, self.special_tokens, merged, self.owner, self.tool_source
        )

    def for_tools(self, tools: Sequence[Any]) -> ConversationTemplate:
        """Return the template for conversations with these tools."""
        if not tools or not self.tool_source:
            return self
        return ConversationTemplate(
            self.tool_source, self.special_tokens, self.variables, self.owner
        )

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), *, prompt: bool = False
    ) -> str:
        """Return the text of a conversation; with `prompt`, the prompt of the next answer.

        Raises TemplateRefusal if the template refuses it, DataError beyond the limits.
        """
        return self.render_plain(plain_messages(messages), plain(list(tools)), prompt=prompt)

    def render_plain(self, messages: list[Any], tools: list[Any], *, prompt: bool = False) -> str:
        """Return what `render` returns, for messages that went through `plain_messages`."""
        source, variables = self._prepared(messages, tools, prompt)
        rendered = self._bounded(lambda: compiled(source).render(variables))
        require_length(rendered, (messages, tools), self.owner)
        return rendered

    def render_marked(
        self, messages: Sequence[Message], tools: Sequence[Any] = ()
    ) -> tuple[str, list[Span]]:
        """Return the text of a conversation and the spans of its generation blocks.

        Raises TemplateRefusal if the template refuses it, DataError beyond the limits.
        """
        source, variables = self._prepared(plain_messages(messages), plain(list(tools)), False)
        rendered, marks = self._bounded(lambda: render_marked(source, variables))
        require_length(rendered, (messages, tools), self.owner)
        return rendered, marks

    def _prepared(
        self, messages: list[Any], tools: list[Any], prompt: bool
    ) -> tuple[str, dict[str, Any]]:
        source = self.tool_source if tools and self.tool_source else self.source
        variables = {
            "messages": messages,
            "tools": tools or None,
            "documents": None,
            "add_generation_prompt": prompt,
            **self.special_tokens,
            **self.variables,
        }
        return source, variables

    def _bounded(self, render: Callable[[], Rendered]) -> Rendered:
        """Render within the limits; raise TemplateRefusal for whatever the template raises."""
        with explained(self.owner), TimeLimit():
            try:
                return render()
            except (MemoryError, RenderingTooLong):
                raise
            except jinja2.TemplateError as error:
                raise TemplateRefusal(printable(error.message or type(error).__name__)) from None
            except Exception as error:  # noqa: BLE001 - a template raises whatever Python raises
                raise TemplateRefusal(printable(str(error) or type(error).__name__)) from None


def plain_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as transformers gives them to a template, without padding of columns."""
    return [_message(message) for message in messages]


def _message(message: Message) -> dict[str, Any]:
    values = {
        key: plain(value) for key, value in message.items() if value is not None or key == "content"
    }
    reasoning = next((values[key] for key in REASONING_KEYS if key in values), None)
    if reasoning is not None:
        values = {"thinking": reasoning, **values, "reasoning_content": reasoning}
    return values


def plain(value: Any) -> Any:
    """Return a value made of JSON types alone; anything else becomes the name of its type."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool:
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    for scalar in (str, int, float):
        if isinstance(value, scalar):
            return scalar(value)
    return f"<{kind.__name__}>"


def named_templates(
    templates: Mapping[str, str],
    special_tokens: Mapping[str, str],
    variables: Mapping[str, Any] | None,
    owner: str,
) -> ConversationTemplate:
    """Return the template that transformers would use of a model's named ones.

    Raises DataError if there is no template, or no default one.
    """
    if not templates:
        raise DataError(
            text(
                "the model's tokenizer has no chat template (it looks like a base model)",
                "该模型的分词器没有对话模板（看起来是基座模型）",
            ),
            hint=text(
                "set template: chatml (saved with the model), or use an -Instruct model",
                "设 template: chatml（会随模型保存），或换用 -Instruct 模型",
            ),
        )
    if "default" not in templates:
        names = ", ".join(sorted(templates))
        raise DataError(
            text(
                f"the model has several chat templates and no default: {names}",
                f"该模型有多个对话模板但没有默认模板：{names}",
            ),
            hint=text(
                "save the intended one as a .jinja file and set template: to it",
                "请把要用的模板另存为 .jinja 文件，并设 template: 为该文件",
            ),
        )
    tool_source = templates.get("tool_use", "")
    return ConversationTemplate(
        templates["default"], special_tokens, variables or {}, owner, tool_source
    )
