"""What a call format is: the marks around a call, where a call ends, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from swiftbox.templates.call_formats.arguments import Schemas, parsed_json

LONGEST_OPENING = 256
"""Characters from a mark to the arguments; longer text after a mark is not a call."""

MALFORMED = -1
"""The end of a region that cannot become a call."""

STRUCTURE = re.compile(r"[\"{}\[\]<]")
IN_STRING = re.compile(r"\"|\\.?", re.DOTALL)
"""The signs that are looked at outside and within a string; marks begin with `<`."""


@dataclass(frozen=True)
class Call:
    """A call of a tool, as a model wrote it."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """Given by formats that have ids; else empty."""


class Region(Protocol):
    """A call that is arriving; the text begins with the mark and grows between two questions."""

    def end(self, text: str) -> int | None:
        """Return where the call ends, MALFORMED if it cannot become one, None if it is open."""


@dataclass(frozen=True)
class VllmParsers:
    """The names of vLLM's parsers for a format, in its registries of 0.23 to 0.33."""

    tools: Mapping[str, str]
    """The parser of calls, by a text in a rendered call; an empty text is in all of them."""
    reasoning: str = "holo2"
    """The parser of reasoning between `<think>` and `</think>` where an answer begins with it."""
    tokens: tuple[str, ...] = ()
    """Tokens without which vLLM refuses to start with the parser of calls."""
    own_marks: bool = False
    """Whether reasoning has other marks, which are the format's own."""
    model_type: str = ""
    """The only type of model that vLLM reads it for; empty: any."""


@dataclass(frozen=True)
class CallFormat:
    """The form in which the models of some families write calls."""

    name: str
    families: str
    """Models that write it, for people."""
    opens: tuple[str, ...]
    """The marks that a call begins with."""
    region: Callable[[], Region]
    read: Callable[[str, Schemas], Sequence[Call]]
    """Returns the calls in the text of a region; none if it is malformed."""
    vllm: VllmParsers
    bare: str = ""
    """The letter that a call without marks begins with, at the start of a line."""
    trailers: tuple[str, ...] = ()
    """Marks that may follow a call, and are no content."""
    marks: tuple[str, ...] = ()
    """Further marks; those that are special tokens of the model stay in the text."""
    stops: tuple[str, ...] = ()
    """Tokens that end an answer after a call."""

    @property
    def special(self) -> tuple[str, ...]:
        """Return all marks that may be special tokens."""
        return (*self.opens, *self.trailers, *self.marks)


@dataclass
class JsonRegion:
    """A call whose arguments are JSON: it ends with that.

    The JSON is followed letter by letter, so that marks within its strings are skipped.
    """

    opening: re.Pattern[str]
    """All that stands before the JSON."""
    close: str = ""
    """A mark that ends the region although its JSON is not complete."""
    impossible: re.Pattern[str] | None = None
    """What the text begins with if it cannot become a call."""
    _at: int = field(default=-1, init=False)
    _depth: int = field(default=0, init=False)
    _in_string: bool = field(default=False, init=False)

    def end(self, text: str) -> int | None:
        """Return where the JSON ends; see Region."""
        if self._at < 0:
            opening = self.opening.match(text)
            if opening is None:
                return MALFORMED if self._cannot_open(text) else None
            self._at = opening.end()
        while sign := (IN_STRING if self._in_string else STRUCTURE).search(text, self._at):
            self._at = sign.end()
            if sign[0] == '"':
                self._in_string = not self._in_string
            elif sign[0] in "{}[]":
                self._depth += 1 if sign[0] in "{[" else -1
                if self._depth == 0:
                    return self._at
            elif self.close and text.startswith(self.close, sign.start()):
                return MALFORMED
            elif self._is_cut(text, sign):
                self._at = sign.start()
                return None
        self._at = len(text)
        return None

    def _cannot_open(self, text: str) -> bool:
        is_impossible = self.impossible is not None and self.impossible.match(text)
        return bool(is_impossible) or len(text) > LONGEST_OPENING

    def _is_cut(self, text: str, sign: re.Match[str]) -> bool:
        """Tell whether a sign may be the beginning of more that has not arrived."""
        rest = text[sign.start() : sign.start() + len(self.close)]
        return sign[0] == "\\" or (sign[0] == "<" and self.close.startswith(rest or sign[0]))


@dataclass
class TaggedRegion:
    """A call whose arguments stand between tags: it ends with a pattern."""

    opening: re.Pattern[str]
    ending: re.Pattern[str]
    longest_ending: int = 128
    """Characters of the ending at most: those before it are not searched again."""
    _is_open: bool = field(default=False, init=False)
    _searched: int = field(default=0, init=False)

    def end(self, text: str) -> int | None:
        """Return where the ending ends; see Region."""
        if not self._is_open:
            self._is_open = self.opening.match(text) is not None
            if not self._is_open:
                return MALFORMED if len(text) > LONGEST_OPENING else None
        ending = self.ending.search(text, self._searched)
        self._searched = max(0, len(text) - self.longest_ending)
        return None if ending is None else ending.end()


def call_of(name: Any, arguments: Any, call_id: Any = "") -> Call | None:
    """Return a call; None unless it has a name, and an object of arguments."""
    if isinstance(arguments, str):
        try:
            arguments = parsed_json(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return Call(name, arguments, call_id if isinstance(call_id, str) else "")
