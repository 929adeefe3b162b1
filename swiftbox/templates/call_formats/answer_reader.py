"""Split an answer, as it arrives, into reasoning, content and tool calls.

States: text (content, until a mark), reasoning (until its closing mark) and call (until its end).
Text is returned once it is certain: what may be the beginning of a mark is held back, and so is
space that may stand before a mark, which belongs to neither side. A call is read only outside of
reasoning, as a whole. What begins like a call and is none is content, letter for letter, and is
searched once more for a call after its first mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from swiftbox.templates.call_formats.arguments import Schemas
from swiftbox.templates.call_formats.call_format import MALFORMED, Call, CallFormat, Region

MAX_UNCLOSED = 16
"""Calls without an end that are searched for further calls, once the answer has ended."""


@dataclass(frozen=True)
class AnswerParts:
    """What became certain of an answer."""

    reasoning: str = ""
    content: str = ""
    calls: tuple[Call, ...] = ()


class Reader(Protocol):
    """Reads one answer."""

    def feed(self, text: str) -> AnswerParts:
        """Take a further piece of the answer; return what is certain now."""

    def finish(self) -> AnswerParts:
        """Return the rest: no text follows."""


@dataclass(frozen=True)
class ReadingTask:
    """What a reader looks for."""

    formats: Sequence[CallFormat] = ()
    think: tuple[str, str] = ("<think>", "</think>")
    """The marks before and after reasoning."""
    is_opened: bool = False
    """Whether the prompt has opened the reasoning."""
    schemas: Schemas | None = None
    """The parameters of the tools on offer; None: no tools, and no calls are read."""
    is_single: bool = False
    """Whether everything after the first call is left out."""


class AnswerReader:
    """Reads one answer whose reasoning and calls stand between marks."""

    def __init__(self, task: ReadingTask) -> None:
        self._task = task
        self._formats = [] if task.schemas is None else list(task.formats)
        self._bare = {entry.bare for entry in self._formats if entry.bare}
        self._opens = {mark for entry in self._formats for mark in entry.opens}
        self._signs = sorted({*self._opens, *self._bare, task.think[0]}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._signs)))
        self._pending = ""
        self._parts: list[AnswerParts] = []
        self._state: Callable[[bool], bool] = self._reason if task.is_opened else self._read_text
        self._sign = task.think[0] if task.is_opened else ""
        self._gap = ""
        """Space before a mark, which is content if the mark begins nothing."""
        self._regions: list[tuple[CallFormat, Region]] = []
        self._follows_block = False
        """Whether a block (reasoning, a call) ends here: space and trailers are left out."""
        self._trailers: tuple[str, ...] = ()
        self._is_line_blank = True
        self._has_begun = False
        """Whether the current reasoning has begun."""
        self._unclosed = 0

    def feed(self, text: str) -> AnswerParts:
        """Take a further piece of the answer; return what is certain now."""
        return self._advanced(text, False)

    def finish(self) -> AnswerParts:
        """Return the rest: no text follows."""
        return self._advanced("", True)

    def _advanced(self, text: str, is_end: bool) -> AnswerParts:
        self._pending += text
        self._parts = []
        while self._state(is_end):
            pass
        return AnswerParts(
            "".join(part.reasoning for part in self._parts),
            "".join(part.content for part in self._parts),
            tuple(call for part in self._parts for call in part.calls),
        )

    # ---- text

    def _read_text(self, is_end: bool) -> bool:
        if self._follows_block and not self._skip_trailers(is_end):
            return False
        sign = self._next_sign()
        if sign is None:
            self._add_content(len(self._pending) if is_end else self._certain())
            return False
        before = self._pending[: sign.start()].rstrip()
        self._add_content(len(before))
        self._gap = self._pending[: sign.start() - len(before)]
        self._pending, self._sign = self._pending[len(self._gap) :], sign[0]
        if sign[0] == self._task.think[0]:
            self._pending = self._pending[len(sign[0]) :]
            self._has_begun, self._state = False, self._reason
        else:
            self._regions = [(entry, entry.region()) for entry in self._formats_of(sign[0])]
            self._state = self._read_call
        return True

    def _formats_of(self, sign: str) -> list[CallFormat]:
        return [entry for entry in self._formats if sign in entry.opens or sign == entry.bare]

    def _skip_trailers(self, is_end: bool) -> bool:
        """Leave out space and trailers; return whether something else has arrived."""
        while True:
            self._pending = self._pending.lstrip()
            trailer = next(filter(self._pending.startswith, self._trailers), None)
            if trailer is None:
                break
            self._pending = self._pending[len(trailer) :]
        may_follow = any(trailer.startswith(self._pending) for trailer in self._trailers)
        if not self._pending or (may_follow and not is_end):
            return False
        self._follows_block, self._is_line_blank = False, True
        return True

    def _next_sign(self) -> re.Match[str] | None:
        """Return the first mark; reasoning and bare calls begin at the start of a line."""
        for sign in self._pattern.finditer(self._pending):
            if sign[0] in self._opens or self._starts_line(sign.start()):
                return sign
        return None

    def _starts_line(self, position: int) -> bool:
        before, line_break, line = self._pending[:position].rpartition("\n")
        return not line.strip() and (bool(line_break) or (self._is_line_blank and not before))

    def _certain(self) -> int:
        """Return the length of the text that no mark, nor space before it, can begin in."""
        end = len(self._pending) - overlap(self._pending, self._signs)
        return len(self._pending[:end].rstrip())

    def _add_content(self, length: int) -> None:
        content, self._pending = self._pending[:length], self._pending[length:]
        if content:
            self._parts.append(AnswerParts(content=content))
            line_break, line = content.rpartition("\n")[1:]
            self._is_line_blank = not line.strip() and (bool(line_break) or self._is_line_blank)

    # ---- reasoning

    def _reason(self, is_end: bool) -> bool:
        opening, closing = self._task.think
        if not self._has_begun:
            self._pending = self._pending.lstrip()
            if self._task.is_opened and self._pending.startswith(opening):
                self._pending = self._pending[len(opening) :].lstrip()  # the model opens it too
            elif not self._pending or (opening.startswith(self._pending) and not is_end):
                return False
        end = self._pending.find(closing)
        if end >= 0:
            self._add_reasoning(self._pending[:end].rstrip())
            self._pending = self._pending[end + len(closing) :]
            self._state, self._follows_block, self._trailers = self._read_text, True, ()
            return True
        certain = len(self._pending)
        if not is_end:
            certain -= overlap(self._pending, [closing])
            certain = len(self._pending[:certain].rstrip())
        self._add_reasoning(self._pending[:certain])
        self._pending = self._pending[certain:]
        return False

    def _add_reasoning(self, text: str) -> None:
        if text:
            self._has_begun = True
            self._parts.append(AnswerParts(reasoning=text))

    # ---- a call

    def _read_call(self, is_end: bool) -> bool:
        for entry, region in list(self._regions):
            end = region.end(self._pending)
            if end is None and is_end:
                end = len(self._pending)
            if end is None:
                continue
            calls = () if end == MALFORMED else self._calls(entry, end)
            if calls:
                self._add_calls(calls, end, entry)
                return True
            self._regions.remove((entry, region))
        if self._regions:
            return False
        self._unclosed += is_end
        if self._unclosed > MAX_UNCLOSED:
            self._pattern = re.compile(r"(?!)")
        self._pending, self._gap = self._gap + self._pending, ""
        self._add_content(len(self._pending) - len(self._pending.lstrip()) + len(self._sign))
        self._state = self._read_text
        return True

    def _calls(self, entry: CallFormat, end: int) -> Sequence[Call]:
        return entry.read(self._pending[:end], self._task.schemas or {})

    def _add_calls(self, calls: Sequence[Call], end: int, entry: CallFormat) -> None:
        self._pending = self._pending[end:]
        if self._task.is_single:
            calls, self._state = calls[:1], self._drop
        else:
            self._state, self._follows_block = self._read_text, True
            self._trailers = entry.trailers
        self._parts.append(AnswerParts(calls=tuple(calls)))

    def _drop(self, _: bool) -> bool:
        self._pending = ""
        return False


def overlap(text: str, marks: Sequence[str]) -> int:
    """Return how many letters at the end of a text may begin one of the marks."""
    longest = max(map(len, marks), default=1) - 1
    for count in range(min(longest, len(text)), 0, -1):
        if any(mark.startswith(text[-count:]) for mark in marks):
            return count
    return 0
