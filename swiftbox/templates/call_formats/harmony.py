"""The Harmony format of gpt-oss: an answer is a sequence of messages, each on a channel.

A message has a header, `<|message|>`, and a body that ends with a token. The channel analysis is
reasoning; a message to `functions.NAME` is a call; everything else is content. OpenAI's own
parser needs the tokens of gpt-oss and files from the network; this works on text.

States: header (until `<|message|>`), and the body of reasoning, content or a call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from swiftbox.templates.call_formats.answer_reader import AnswerParts, ReadingTask, overlap
from swiftbox.templates.call_formats.arguments import Schemas, parsed_json
from swiftbox.templates.call_formats.call_format import (
    Call,
    CallFormat,
    TaggedRegion,
    VllmParsers,
    call_of,
)

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>", START)
"""What a body ends with; `<|start|>` where the model omitted the end."""

LONGEST_HEADER = 256
"""Characters; text without `<|message|>` within them is content."""

_CALL = re.compile(r"[^{]*?\bto=functions\.(?P<name>[^\s<]+)[^{]*?<\|message\|>\s*(?=\{)")
_BODY_END = re.compile("|".join(map(re.escape, ENDS)))
_HEADER_START = re.compile(r"<\|start\|>(?:assistant)?\s*")


def read_message(text: str, _: Schemas) -> Sequence[Call]:
    """Return the call of a message; none if it is not one."""
    header = _CALL.match(text)
    if header is None:
        return ()
    try:
        call = call_of(header["name"], parsed_json(text[header.end() :].removesuffix("<|call|>")))
    except ValueError:
        return ()
    return () if call is None else [call]


HARMONY = CallFormat(
    name="harmony",
    families="gpt-oss",
    opens=(),
    region=lambda: TaggedRegion(_CALL, re.compile(r"<\|call\|>")),
    read=read_message,
    vllm=VllmParsers({"": "openai"}, "openai_gptoss", own_marks=True, model_type="gpt_oss"),
    marks=(START, CHANNEL, MESSAGE, "<|constrain|>", "<|end|>", "<|call|>", "<|return|>"),
    stops=("<|call|>", "<|return|>"),
)


class HarmonyReader:
    """Reads one answer in the Harmony format; `prefix` is what the prompt has begun of it."""

    def __init__(self, task: ReadingTask, prefix: str = "") -> None:
        self._task = task
        self._pending = prefix
        self._header = ""
        """The header of the current message; empty within a header."""
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._calls: list[Call] = []
        self._seen = {"reasoning": False, "content": False}
        self._is_new_message = True
        self._is_done = False

    def feed(self, text: str) -> AnswerParts:
        """Take a further piece of the answer; return what is certain now."""
        return self._advanced(text, False)

    def finish(self) -> AnswerParts:
        """Return the rest: no text follows."""
        return self._advanced("", True)

    def _advanced(self, text: str, is_end: bool) -> AnswerParts:
        self._pending += text
        self._reasoning, self._content, self._calls = [], [], []
        while not self._is_done and self._pending:
            if not (self._read_body(is_end) if self._header else self._read_header(is_end)):
                break
        calls, self._calls = self._calls, []
        return AnswerParts("".join(self._reasoning), "".join(self._content), tuple(calls))

    def _read_header(self, is_end: bool) -> bool:
        """Read up to `<|message|>`; any other text is content."""
        end = self._pending.find(MESSAGE)
        may_be_header = self._may_be_header()
        if may_be_header and 0 <= end <= LONGEST_HEADER:
            end += len(MESSAGE)
            self._header, self._pending = self._pending[:end], self._pending[end:]
            self._is_new_message = True
            return True
        if not is_end and len(self._pending) <= LONGEST_HEADER and may_be_header:
            return False
        if is_end and not _HEADER_START.sub("", self._pending).strip():
            self._pending = ""
            return False
        self._header, self._is_new_message = MESSAGE, True
        if self._pending.startswith(START):  # otherwise it would end a body
            self._add_text(START)
            self._pending = self._pending[len(START) :]
        return True

    def _may_be_header(self) -> bool:
        """Tell whether the text can be a header, which begins with a mark or a recipient."""
        bare = _HEADER_START.sub("", self._pending).lstrip()
        begins = ("<|", "to=", "assistant")
        return any(bare.startswith(sign) or sign.startswith(bare) for sign in begins)

    def _read_body(self, is_end: bool) -> bool:
        ending = _BODY_END.search(self._pending)
        if "to=" in self._header:
            if ending is None and not is_end:
                return False
            self._add_message(self._pending[: ending.start()] if ending else self._pending)
        else:
            certain = len(self._pending)
            if ending is not None:
                certain = ending.start()
            elif not is_end:
                certain -= overlap(self._pending, ENDS)
            self._add_text(self._pending[:certain])
            if ending is None:
                self._pending = self._pending[certain:]
                return False
        self._close(ending)
        return bool(self._pending)

    def _close(self, ending: re.Match[str] | None) -> None:
        self._header = ""
        end = 0 if ending is None else ending.end()
        if ending is not None and ending[0] == START:
            end = ending.start()  # the header of the next message begins with it
        self._pending = self._pending[end:] if ending is not None else ""

    def _add_text(self, text: str) -> None:
        is_reasoning = f"{CHANNEL}analysis" in self._header
        target = self._reasoning if is_reasoning else self._content
        kind = "reasoning" if is_reasoning else "content"
        if text and self._is_new_message and self._seen[kind]:
            target.append("\n\n")
        if text:
            target.append(text)
            self._seen[kind], self._is_new_message = True, False

    def _add_message(self, body: str) -> None:
        """Add a message with a recipient: a call, or content if it is none."""
        calls: Sequence[Call] = ()
        if self._task.schemas is not None:
            calls = read_message(self._header + body, self._task.schemas)
        if not calls:
            self._content.append(_HEADER_START.sub("", self._header) + body)
            self._seen["content"] = True
            return
        self._calls += calls
        self._is_done = self._task.is_single
