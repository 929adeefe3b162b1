"""Which of vLLM's parsers read the answers of a model, by what its chat template renders.

vLLM's parsers of `<think>` begin inside the reasoning: an answer without `</think>` is reasoning as
a whole, and its content is empty. One is therefore chosen only where every answer has the mark.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from swiftbox.language import text
from swiftbox.templates.abilities import ANSWER, TOOL, USER, Abilities, abilities_of, as_parts
from swiftbox.templates.call_formats.call_format import VllmParsers
from swiftbox.templates.call_formats.table import CLOSE, FORMATS, OPEN
from swiftbox.templates.client_messages import think_marks
from swiftbox.templates.template import ConversationTemplate, TemplateRefusal

BY_VARIABLE = "deepseek_v3"
"""Reads reasoning only if a request sets the variable thinking or enable_thinking."""

WITHOUT_FORMAT = VllmParsers({})


@dataclass(frozen=True)
class ChosenParsers:
    """Names of parsers, empty for none; and what is not read, for the user."""

    tools: str = ""
    reasoning: str = ""
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Say which parsers read the answers, and what is not read."""
        names = {
            text("tool calls", "工具调用"): self.tools,
            text("reasoning", "推理"): self.reasoning,
        }
        chosen = ", ".join(f"{what}: {name}" for what, name in names.items() if name)
        line = text(f"vLLM's parsers: {chosen}", f"vLLM 的解析器：{chosen}")
        return [*([line] if chosen else []), *self.remarks]


NO_PARSERS = ChosenParsers()


def choose_parsers(
    template: ConversationTemplate, vocabulary: Container[str], model_type: str
) -> ChosenParsers:
    """Return the parsers for the answers of a template and a vocabulary of tokens."""
    abilities = abilities_of(template.for_tools([TOOL]))
    row = FORMATS[abilities.calls].vllm if abilities.calls in FORMATS else WITHOUT_FORMAT
    if row.model_type not in ("", model_type):
        row = WITHOUT_FORMAT
    tools, reasoning = _tools(row, abilities), _reasoning(row, abilities, template)
    missing = [token for token in row.tokens if token not in vocabulary]
    remarks = []
    if abilities.tools and (missing or not tools):
        tools = ""
        remarks.append(_unread_calls(missing))
    if reasoning and not row.own_marks and not (OPEN in vocabulary and CLOSE in vocabulary):
        reasoning = ""
    if abilities.reasoning and not reasoning:
        remarks.append(_unread_reasoning())
    return ChosenParsers(tools, reasoning, tuple(remarks))


def _tools(row: VllmParsers, abilities: Abilities) -> str:
    """Return the parser of calls; none for a template that renders no tools."""
    if not abilities.tools:
        return ""
    return next((name for mark, name in row.tools.items() if mark in abilities.called), "")


def _reasoning(row: VllmParsers, abilities: Abilities, template: ConversationTemplate) -> str:
    if not abilities.reasoning:
        return ""
    if row.own_marks:
        return row.reasoning
    if think_marks(abilities) != (OPEN, CLOSE):
        return ""
    user = {"role": "user", "content": _content(USER, abilities)}
    answer = {"role": "assistant", "content": _content(ANSWER, abilities)}
    try:
        prompt = template.render([user], prompt=True).rpartition(USER)[2]
        plain = template.render([user, answer]).rpartition(USER)[2]
    except TemplateRefusal:
        return ""
    if CLOSE in prompt:
        return BY_VARIABLE
    return row.reasoning if OPEN in prompt or CLOSE in plain.partition(ANSWER)[0] else ""


def _content(content: str, abilities: Abilities) -> object:
    return as_parts(content) if abilities.content == "parts" else content


def _unread_calls(missing: list[str]) -> str:
    why = text("no parser of vLLM fits its form", "vLLM 没有适合其格式的解析器")
    if missing:
        names = ", ".join(missing)
        why = text(f"its vocabulary lacks {names}", f"其词表缺少 {names}")
    return text(
        f"requests with tools are refused: the chat template renders tools, but {why}",
        f"带工具的请求会被拒绝：对话模板会渲染工具，但{why}",
    )


def _unread_reasoning() -> str:
    return text(
        "reasoning stays in the content of answers: vLLM has no parser that tells it from an "
        "answer without reasoning",
        "推理内容会留在回答正文中：vLLM 没有解析器能将其与不含推理的回答区分开",
    )
