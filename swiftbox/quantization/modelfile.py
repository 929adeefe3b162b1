"""The Modelfile with which Ollama takes over a GGUF file: its template, and where answers end.

Ollama's templates are written in Go's language. What the model's own template writes around each
turn is found by rendering conversations; the translation is written only if it then renders other
conversations exactly as the model's template does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.errors import DataError
from swiftbox.quantization import gguf
from swiftbox.templates.closing import KEY
from swiftbox.templates.template import ConversationTemplate, TemplateRefusal

FILE = "Modelfile"

MARKS = {"system": "Sxq1", "user": "Uxq2", "assistant": "Axq3"}
"""Contents that no template changes, by role."""

CLOCK = "strftime_now"
"""Templates with it write the date of the request."""

SAMPLING = ("temperature", "top_p", "top_k")
"""Settings of generation_config.json that Ollama has by the same name."""

CHECKED: Sequence[Sequence[tuple[str, str]]] = (
    (("user", "Which river?"),),
    (("system", "Be brief."), ("user", "Which river?")),
    (("user", "One."), ("assistant", "Two."), ("user", "Three.")),
    (
        *(("system", "Be brief."), ("user", "One."), ("assistant", "Two.")),
        *(("user", "Three."), ("assistant", "Four."), ("user", "五？")),
    ),
)
"""Conversations that the translation must render as the model's template does."""


@dataclass(frozen=True)
class TurnTexts:
    """What a template writes before and after the content of each role's turns."""

    around: Mapping[str, tuple[str, str]]
    opening: str
    """What it writes first if there is no system turn."""
    prompt: str
    """What it writes last, for the answer to begin."""

    def render(self, conversation: Sequence[tuple[str, str]]) -> str:
        """Return the prompt of a conversation of roles and contents."""
        turns = [content.join(self.around[role]) for role, content in conversation]
        has_system = any(role == "system" for role, _content in conversation)
        return ("" if has_system else self.opening) + "".join(turns) + self.prompt

    def to_go(self) -> str:
        """Return the template in Ollama's language."""
        opening = f"{{{{ if not .System }}}}{_literal(self.opening)}{{{{ end }}}}"
        branches: list[str] = []
        for role, (before, after) in self.around.items():
            word = "if" if not branches else "else if"
            content = f"{_literal(before)}{{{{ .Content }}}}{_literal(after)}"
            branches.append(f'{{{{ {word} eq .Role "{role}" }}}}{content}')
        turns = f"{{{{ range .Messages }}}}{''.join(branches)}{{{{ end }}}}{{{{ end }}}}"
        return (opening if self.opening else "") + turns + _literal(self.prompt)


def _literal(content: str) -> str:
    """Return a text as an action of Go's template language, which takes any characters."""
    return f"{{{{ {json.dumps(content, ensure_ascii=False)} }}}}" if content else ""


def turn_texts(template: ConversationTemplate) -> TurnTexts | None:
    """Return what a template writes around turns; None if it is not as simple as that."""
    if CLOCK in template.source:
        return None
    user, answer, system = (MARKS[role] for role in ("user", "assistant", "system"))
    try:
        alone = _rendered(template, [("user", user)])
        talk = [("system", system), ("user", user), ("assistant", answer), ("user", user)]
        rendered = _rendered(template, talk)
        bare = _rendered(template, talk[:3], prompt=False)
    except (TemplateRefusal, DataError):
        return None
    if not all(mark in rendered for mark in (system, user, answer)) or rendered.count(user) != 2:
        return None
    before_system, rest = rendered.split(system)
    system_to_user, after_user, tail = rest.split(user)
    user_to_answer, answer_to_user = after_user.split(answer)
    after_answer = bare.rpartition(answer)[2]
    before_user = answer_to_user.removeprefix(after_answer)
    end = _common_beginning(user_to_answer, tail)
    around = {
        "system": (before_system, system_to_user.removesuffix(before_user)),
        "user": (before_user, end),
        "assistant": (user_to_answer.removeprefix(end), after_answer),
    }
    opening = alone.partition(user)[0].removesuffix(before_user)
    texts = TurnTexts(around, opening, tail.removeprefix(end))
    return texts if _is_same(texts, template) else None


def _common_beginning(first: str, second: str) -> str:
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    return first[:length]


def _is_same(texts: TurnTexts, template: ConversationTemplate) -> bool:
    try:
        return all(_rendered(template, talk) == texts.render(talk) for talk in CHECKED)
    except (TemplateRefusal, DataError):
        return False


def _rendered(
    template: ConversationTemplate, talk: Sequence[tuple[str, str]], *, prompt: bool = True
) -> str:
    messages = [{"role": role, "content": content} for role, content in talk]
    return template.render(messages, prompt=prompt)


def write_modelfile(folder: Path, tokenizer: Any, generation: Mapping[str, Any]) -> bool:
    """Write the Modelfile beside a GGUF file; tell whether it holds the template.

    `generation` are the model's settings of generation, with a list of the tokens that end answers.
    """
    lines = ["# ollama create NAME -f Modelfile", f"FROM ./{gguf.FILE}"]
    texts = None
    if tokenizer.chat_template:
        texts = turn_texts(ConversationTemplate.of_tokenizer(tokenizer))
        if texts is None:
            lines.append("# The model's template has no equal here: Ollama looks for one itself.")
        else:
            lines.append(f'TEMPLATE """{_without_beginning(texts, tokenizer).to_go()}"""')
    for end in _ends(tokenizer, generation):
        lines.append(f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}")
    for name in SAMPLING:
        if _is_number(number := generation.get(name)):
            lines.append(f"PARAMETER {name} {number}")
    (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return texts is not None


def _is_number(value: Any) -> bool:
    """Tell whether a setting is a number; a text could bring directives of its author."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value != 0


def _without_beginning(texts: TurnTexts, tokenizer: Any) -> TurnTexts:
    """Return the texts without the token that begins every text, where Ollama adds it."""
    begin = tokenizer.bos_token or ""
    adds_it = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    before, after = texts.around["system"]
    if not adds_it or not before.startswith(begin):
        return texts
    around = {**texts.around, "system": (before.removeprefix(begin), after)}
    return TurnTexts(around, texts.opening.removeprefix(begin), texts.prompt)


def _ends(tokenizer: Any, generation: Mapping[str, Any]) -> list[str]:
    names = [tokenizer.convert_ids_to_tokens(number) for number in generation[KEY]]
    return [str(name) for name in names if name]
