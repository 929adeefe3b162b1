"""Answers read in the form of their template: tool calls as OpenAI's API has them.

The tokens that a form needs in the text, and those that end an answer, are found by their text.
"""

from __future__ import annotations

import functools
import re
import secrets
import string
import uuid
from dataclasses import dataclass
from typing import Any

from swiftbox.templates.call_formats.arguments import arguments_text
from swiftbox.templates.call_formats.call_format import Call
from swiftbox.templates.call_formats.json_calls import MISTRAL
from swiftbox.templates.call_formats.table import AnswerForm

SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def as_openai(call: Call, form: AnswerForm) -> dict[str, Any]:
    """Return a call with an id that the template accepts in the next request."""
    return {
        "id": _call_id(call, form),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments_text(call.arguments)},
    }


def _call_id(call: Call, form: AnswerForm) -> str:
    """Return the id that the model wrote, or a new one; Mistral's have nine letters or digits."""
    if MISTRAL.name not in form.formats:
        return f"call_{uuid.uuid4().hex[:24]}"
    if SHORT_ID.fullmatch(call.id):
        return call.id
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


@dataclass(frozen=True)
class FormTokens:
    """What an answer's form means for its tokens."""

    visible: frozenset[int] = frozenset()
    """Special tokens that stay in the text, because they are marks."""
    stops: frozenset[int] = frozenset()


def form_tokens(tokenizer: Any, form: AnswerForm, *, reads_calls: bool) -> FormTokens:
    """Return the tokens of the marks and of the ends that this tokenizer has."""
    special = _special_tokens(tokenizer)
    marks = "\n".join(form.marks(reads_calls=reads_calls))
    visible = frozenset(token for content, token in special.items() if content in marks)
    stops = frozenset(special[stop] for stop in form.stops() if stop in special)
    return FormTokens(visible - stops, stops)


@functools.lru_cache(maxsize=32)
def _special_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the special tokens of a tokenizer by their text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {str(token): number for number, token in added.items() if token.special}
