"""What a chat template can do, found by rendering words that occur nowhere else.

A template may name a role, tools or `<think>` and still drop them; only its output tells. The
abilities of a template are found once in a process, with some twenty short renderings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from swiftbox.templates.prefixes import shared_units
from swiftbox.templates.reasoning import INLINE_MARKS, ThinkMarks
from swiftbox.templates.template import ConversationTemplate, Message, TemplateRefusal

USER, ANSWER, SYSTEM, REASONING = "qzuserzq", "qzanswerzq", "qzsystemzq", "qzreasonzq"
LATER_USER, LATER_ANSWER, RESULT = "qzaskzq", "qzreplyzq", "qzresultzq"
TOOL_NAME, CALL_NAME, ARGUMENT = "qztoolzq", "qzcallzq", "qzvaluezq"

UNKNOWN_ROLE = "qzrolezq"

TOKEN = re.compile(r"\s*(<[^<>\s]+>)")

ContentForm = Literal["text", "parts"]
ArgumentsForm = Literal["object", "text", ""]
EmptyForm = Literal["text", "null", "absent"]
IdForm = Literal["free", "named", "nine"]
ReasoningForm = Literal["field", "inline", ""]


RESULT_MARK = "<tool_response>"


# An id of a row may have any length; the short one finds the templates that refuse it.
PROBE_IDS: Mapping[IdForm, str] = {
    "free": "c1",
    "nine": "call00001",
    "named": f"functions.{CALL_NAME}:0",
}
EMPTY_FORMS: tuple[EmptyForm, ...] = ("text", "null", "absent")


@dataclass(frozen=True)
class CallForm:
    """How a turn is given that only calls tools; no arguments: no form renders it."""

    arguments: ArgumentsForm = ""
    empty: EmptyForm = "text"
    ids: IdForm = "free"


@dataclass(frozen=True)
class Abilities:
    """What one template renders, and in which form it wants it."""

    content: ContentForm = "text"
    """Whether a message's content is given as text or as a list of parts."""
    arguments: ArgumentsForm = ""
    """How the arguments of tool calls are given; empty: calls are not rendered."""
    empty: EmptyForm = "text"
    """How the content of a turn that only calls tools is given (null: DeepSeek-R1 distilled)."""
    ids: IdForm = "free"
    """The ids of calls: any, NAME:NUMBER (Kimi K2), nine letters and digits (Mistral)."""
    called: str = ""
    """What a turn that calls a tool is rendered as, before its closing token."""
    call_closing: str = ""
    """What stands after the last of two calls, and is missing after a single one."""
    calls: str = ""
    """The format in which calls are rendered; empty: none, or one that is not known."""
    tools: bool = False
    """Whether the definitions of tools are rendered."""
    wraps_results: bool = False
    """Whether results of tools are put between <tool_response> and </tool_response>."""
    reasoning: ReasoningForm = ""
    """Where reasoning is given; empty: the template does not know it."""
    think: ThinkMarks | None = None
    """The text around reasoning, where an answer without it is otherwise the same."""
    system: bool = True
    middle_system: bool = True
    developer: bool = False
    prompt: str = ""
    """What the prompt of an answer has beyond the turns before it."""
    prompt_tail: str = ""
    """What the prompt of an answer has beyond the beginning of the answer (`<think>`)."""
    closing: str = ""
    """What stands after an answer within a conversation."""
    trailer: str = ""
    """What stands at the end of a conversation and not after each of its answers."""
    is_closed: bool = True
    """Whether the template writes a closing token after an answer."""
    user_opener: str = ""
    """The token that a user turn begins with; the closing token where there is none (GLM)."""
    tool_opener: str = ""


def abilities_of(template: ConversationTemplate) -> Abilities:
    """Return the abilities of a template for conversations without a separate tool template."""
    return _abilities(
        template.source,
        tuple(sorted(template.special_tokens.items())),
        json.dumps(dict(template.variables), sort_keys=True, default=str),
    )


@lru_cache(maxsize=64)
def _abilities(
    source: str, special_tokens: tuple[tuple[str, str], ...], variables: str
) -> Abilities:
    template = ConversationTemplate(source, dict(special_tokens), json.loads(variables))
    content: ContentForm = "text" if _renders_text(template) else "parts"
    return _Probe(template, content).abilities()


def _renders_text(template: ConversationTemplate) -> bool:
    """Tell whether texts are rendered as they are, or if parts are not rendered either."""
    messages = [{"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}]
    if _contains(_rendered(template, messages), USER, ANSWER):
        return True
    parts = [{**message, "content": as_parts(message["content"])} for message in messages]
    return not _contains(_rendered(template, parts), USER, ANSWER)


def with_empty(message: dict[str, Any], form: EmptyForm) -> dict[str, Any]:
    """Return a message whose content is empty in the form that its template wants."""
    if form == "null":
        return {**message, "content": None}
    if form == "absent":
        return {key: value for key, value in message.items() if key != "content"}
    return message


def as_parts(content: str) -> list[dict[str, str]]:
    """Return a text as the list of parts that some templates of vision models require."""
    return [{"type": "text", "text": content}]


@dataclass(frozen=True)
class _Probe:
    """Renders short conversations by one template."""

    template: ConversationTemplate
    content: ContentForm

    def turn(self, role: str, content: str, **more: Any) -> dict[str, Any]:
        parts = as_parts(content) if self.content == "parts" else content
        return {"role": role, "content": parts, **more}

    def text(self, *messages: Message, tools: Sequence[Any] = (), prompt: bool = False) -> str:
        return _rendered(self.template, messages, tools, prompt=prompt)

    def abilities(self) -> Abilities:
        user, answer = self.turn("user", USER), self.turn("assistant", ANSWER)
        later = self.turn("user", LATER_USER), self.turn("assistant", LATER_ANSWER)
        system = self.turn("system", SYSTEM)
        form = self._call_form(user)
        closing = self._closing(user, answer, later, form)
        return Abilities(
            content=self.content,
            arguments=form.arguments,
            empty=form.empty,
            ids=form.ids,
            called=self._called(user, form, closing.get("closing", "")),
            call_closing=self._call_closing(user, form),
            calls=self._calls(user, form),
            tools=TOOL_NAME in self.text(user, tools=[TOOL]),
            wraps_results=RESULT_MARK in self.template.source,
            **self._reasoning(user, later, form),
            system=SYSTEM in self.text(system, user, prompt=True),
            middle_system=SYSTEM in self.text(user, answer, system, later[0], prompt=True),
            prompt=self._prompt(user),
            developer=self._knows_developer(user),
            **closing,
        )

    def _knows_developer(self, user: Message) -> bool:
        """Tell whether the role developer is more to the template than any unknown role."""
        developer = self.text(self.turn("developer", SYSTEM), user, prompt=True)
        unknown = self.text(self.turn(UNKNOWN_ROLE, SYSTEM), user, prompt=True)
        return SYSTEM in developer and developer.replace("developer", UNKNOWN_ROLE) != unknown

    def _prompt(self, user: Message) -> str:
        before, prompt = self.text(user), self.text(user, prompt=True)
        return prompt[len(before) :] if prompt.startswith(before) else ""

    def _call_form(self, user: Message) -> CallForm:
        """Return the form in which the values of a call's arguments are rendered as JSON."""
        id_forms: tuple[IdForm, ...] = ("free", "nine", "named")
        for ids in id_forms:
            for empty in EMPTY_FORMS:
                called = self.text(user, self.call(CallForm("object", empty, ids)), tools=[TOOL])
                if _contains(called, CALL_NAME, ARGUMENT) and f"'city': '{ARGUMENT}'" not in called:
                    return CallForm("object", empty, ids)
                called = self.text(user, self.call(CallForm("text", empty, ids)), tools=[TOOL])
                if _contains(called, CALL_NAME, ARGUMENT) and f'\\"{ARGUMENT}' not in called:
                    return CallForm("text", empty, ids)
        return CallForm()

    def _called(self, user: Message, form: CallForm, closing: str) -> str:
        """Return what a turn is rendered as that calls a tool, without what closes it."""
        if not form.arguments:
            return ""
        before = self.text(user, tools=[TOOL])
        called = self.text(user, self.call(form), tools=[TOOL])
        return called[len(shared_units(before, called)) :].removesuffix(closing)

    def call(
        self, form: CallForm, more: Mapping[str, Any] | None = None, count: int = 1
    ) -> dict[str, Any]:
        arguments: Any = {"city": ARGUMENT}
        arguments = json.dumps(arguments) if form.arguments == "text" else arguments
        function = {"name": CALL_NAME, "arguments": arguments}
        call = {"id": PROBE_IDS[form.ids], "type": "function", "function": function}
        turn = self.turn("assistant", "", tool_calls=[call] * count, **(more or {}))
        return with_empty(turn, form.empty)

    def _calls(self, user: Message, form: CallForm) -> str:
        """Return the format that reads back a rendered call."""
        if not form.arguments:
            return ""
        from swiftbox.templates.call_formats.call_format import Call
        from swiftbox.templates.call_formats.table import format_of

        called = self.text(user, self.call(form), tools=[TOOL]).partition(USER)[2]
        return format_of(called, Call(CALL_NAME, {"city": ARGUMENT}))

    def _call_closing(self, user: Message, form: CallForm) -> str:
        """Return what a template writes after the last of two calls only."""
        if not form.arguments:
            return ""
        ends = [
            self.text(user, self.call(form, count=count), tools=[TOOL]).rpartition(ARGUMENT)[2]
            for count in (1, 2)
        ]
        return ends[1].removeprefix(ends[0]) if ends[1].startswith(ends[0]) else ""

    def _reasoning(
        self, user: Message, later: tuple[Message, Message], form: CallForm
    ) -> dict[str, Any]:
        """Return where reasoning is given and the text around it."""
        prompt = self.text(user, prompt=True)
        answer = self.text(user, self.turn("assistant", ANSWER))
        tail = _beyond(prompt, answer)
        field = {"reasoning_content": REASONING}
        thought = self.text(user, self.turn("assistant", ANSWER, **field))
        if REASONING in thought:
            marks = _marks(prompt, answer, thought)
            return {"reasoning": "field", "think": marks, "prompt_tail": tail}
        if form.arguments:
            called = self.text(user, self.call(form), tools=[TOOL])
            thought = self.text(user, self.call(form, field), tools=[TOOL])
            marks = _marks(self.text(user, tools=[TOOL], prompt=True), called, thought)
            if marks is not None:
                return {"reasoning": "field", "think": marks, "prompt_tail": tail}
        inline = f"<think>{REASONING}</think>{ANSWER}"
        last = self.text(user, self.turn("assistant", inline))
        earlier = self.text(user, self.turn("assistant", inline), *later)
        is_known = (
            "<think>" in tail or not _contains(last, inline) or not _contains(earlier, inline)
        )
        if not is_known or not last:
            return {"prompt_tail": tail}
        return {"reasoning": "inline", "think": INLINE_MARKS, "prompt_tail": tail}

    def _closing(
        self,
        user: Message,
        answer: Message,
        later: tuple[Message, Message],
        form: CallForm,
    ) -> dict[str, Any]:
        """Return what stands after an answer: a closing token, or the next turn's first."""
        end = self.text(user, answer).partition(ANSWER)[2]
        middle = self.text(user, answer, *later).partition(ANSWER)[2].partition(LATER_USER)[0]
        shared = shared_units(end, middle)
        trailer = end[len(shared) :] if shared.strip() else ""
        if end.strip():
            return {"closing": shared, "trailer": trailer}
        return {
            "is_closed": False,
            "user_opener": _token(middle),
            "tool_opener": self._tool_opener(user, form),
        }

    def _tool_opener(self, user: Message, form: CallForm) -> str:
        called = self.call(form)
        result = self.turn("tool", RESULT, tool_call_id=PROBE_IDS[form.ids], name=CALL_NAME)
        before = self.text(user, called, tools=[TOOL])
        after = self.text(user, called, result, tools=[TOOL])
        return _token(after[len(before) :]) if after.startswith(before) else ""


TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city."}},
            "required": ["city"],
        },
    },
}


def _rendered(
    template: ConversationTemplate,
    messages: Sequence[Message],
    tools: Sequence[Any] = (),
    *,
    prompt: bool = False,
) -> str:
    """Return the text of a conversation; empty where the template refuses it."""
    try:
        return template.render(messages, tools, prompt=prompt)
    except TemplateRefusal:
        return ""


def _contains(rendered: str, *parts: str) -> bool:
    return all(part in rendered for part in parts)


def _token(text: str) -> str:
    match = TOKEN.match(text)
    return match[1] if match else ""


def _beyond(prompt: str, answer: str) -> str:
    """Return what the prompt has beyond the text before the answer's first word."""
    header = answer.partition(ANSWER)[0]
    return prompt[len(header) :] if header and prompt.startswith(header) else ""


def _marks(prompt: str, answer: str, thought: str) -> ThinkMarks | None:
    """Return the text around the reasoning, from an answer without and one with reasoning."""
    before, sentinel, after = thought.partition(REASONING)
    body = answer[len(prompt) :]
    is_exact = answer.startswith(prompt) and before.startswith(prompt) and after.endswith(body)
    if not sentinel or not body or not is_exact:
        return None
    return ThinkMarks(before[len(prompt) :], after[: -len(body)])
