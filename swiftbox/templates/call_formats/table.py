"""The one table of call formats, and which of them a template writes.

A row is right for a template if it reads back the call that the template renders: names of models
are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swiftbox.templates.call_formats.answer_reader import AnswerReader, Reader, ReadingTask
from swiftbox.templates.call_formats.arguments import schemas_of
from swiftbox.templates.call_formats.call_format import Call, CallFormat
from swiftbox.templates.call_formats.harmony import ENDS, HARMONY, START, HarmonyReader
from swiftbox.templates.call_formats.json_calls import DEEPSEEK, HERMES, LLAMA, MISTRAL
from swiftbox.templates.call_formats.tagged_calls import GEMMA, GLM, LFM, QWEN_CODER

FORMATS: Mapping[str, CallFormat] = {
    row.name: row
    for row in (HERMES, QWEN_CODER, GLM, DEEPSEEK, MISTRAL, HARMONY, GEMMA, LFM, LLAMA)
}
"""Every format by its name; those without marks come last."""

OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class AnswerForm:
    """How the answers to one prompt are read."""

    formats: tuple[str, ...] = ()
    """Names of the call formats."""
    think: tuple[str, str] = (OPEN, CLOSE)
    prefix: str = ""
    """What the prompt has begun of the answer: the mark that opens reasoning, or a header."""

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> AnswerForm:
        """Return the form that another process found."""
        opening, closing = content["think"]
        return AnswerForm(tuple(content["formats"]), (opening, closing), content["prefix"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"formats": self.formats, "think": self.think, "prefix": self.prefix}

    def reader(self, tools: Sequence[Any] | None, *, is_single: bool = False) -> Reader:
        """Return a reader of one answer; without `tools`, calls stay text."""
        rows = [FORMATS[name] for name in self.formats]
        schemas = schemas_of(tools) if tools else None
        task = ReadingTask(rows, self.think, bool(self.prefix), schemas, is_single)
        return HarmonyReader(task, self.prefix) if HARMONY in rows else AnswerReader(task)

    def marks(self, *, reads_calls: bool) -> frozenset[str]:
        """Return the marks that must stay in the text although they may be special tokens."""
        rows = [FORMATS[name] for name in self.formats]
        used = [row for row in rows if reads_calls or row is HARMONY]
        return frozenset({*self.think, *(mark for row in used for mark in row.special)})

    def stops(self) -> frozenset[str]:
        """Return the tokens that end an answer after a call."""
        return frozenset(stop for name in self.formats for stop in FORMATS[name].stops)


def format_of(rendered: str, call: Call) -> str:
    """Return the format in which a template has rendered a call; empty if none reads it back."""
    tools = [{"function": {"name": call.name}}]
    for name in FORMATS:
        form = AnswerForm((name,))
        reader = form.reader(tools)
        parts = [reader.feed(rendered), reader.finish()]
        calls = [replace(read, id="") for part in parts for read in part.calls]
        if calls == [call]:
            return name
    return ""


def prefix_of(prompt: str, formats: Sequence[str], opening: str) -> str:
    """Return what a prompt has begun of its answer."""
    if HARMONY.name in formats:
        begun = START + prompt.rpartition(START)[2]
        is_answer = begun.startswith(f"{START}assistant") and not any(
            end in begun for end in ENDS[:-1]
        )
        return begun if is_answer else ""
    return opening if prompt.rstrip().endswith(opening) else ""
