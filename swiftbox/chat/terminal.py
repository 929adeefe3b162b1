"""The chat itself: a line editor where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from swiftbox.chat.commands import obey
from swiftbox.chat.conversation import Conversation
from swiftbox.chat.speaking import Speaking
from swiftbox.language import text
from swiftbox.serving.talking import Side

Read = Callable[[], str]
"""Returns a line; raises EOFError at the end, KeyboardInterrupt when interrupted."""


def talk(sides: Sequence[Side], *, system: str, max_tokens: int) -> int:
    """Chat until the user leaves; return the exit code."""
    conversation = Conversation(len(sides), system)
    if not sys.stdin.isatty():
        return _lines(sides, conversation, max_tokens)
    speaking = Speaking(sides, max_tokens, sys.stdout, sys.stderr)
    names = " · ".join(one.name for one in sides)
    _say(
        text(
            f"{names}   /help lists commands; Ctrl-C stops an answer, then leaves",
            f"{names}   /help 查看命令；Ctrl-C 停止回答，再按离开",
        )
    )
    _converse(_editor(), speaking, conversation)
    return 0


def one_answer(sides: Sequence[Side], question: str, *, system: str, max_tokens: int) -> int:
    """Ask one question and show the answer; return the exit code."""
    speaking = Speaking(sides, max_tokens, sys.stdout, sys.stderr, named=False)
    return 0 if speaking.ask(question, Conversation(len(sides), system)) else 1


def _lines(sides: Sequence[Side], conversation: Conversation, max_tokens: int) -> int:
    """Answer the lines of a pipe, each a turn; what goes to stdout is the answers alone."""
    speaking = Speaking(sides, max_tokens, sys.stdout, sys.stderr, named=False)
    for line in sys.stdin:
        question = line.strip()
        if question.startswith("/"):
            outcome = obey(question, conversation, keeps=len(sides) - 1)
            for one in outcome.lines:
                _say(one)
            if outcome.leaves:
                break
            question = outcome.ask or ""
        if question and not speaking.ask(question, conversation):
            return 1
    return 0


def _converse(read: Read, speaking: Speaking, conversation: Conversation) -> None:
    while True:
        try:
            question = read().strip()
        except (EOFError, KeyboardInterrupt):
            return
        if question.startswith("/"):
            outcome = obey(question, conversation, keeps=len(speaking.sides) - 1)
            for one in outcome.lines:
                _say(one)
            if outcome.leaves:
                return
            question = outcome.ask or ""
        if question:
            speaking.ask(question, conversation)


def _editor() -> Read:
    """Return what reads a line: an editor with history, or plain input on a dumb terminal."""
    prompt = text("you> ", "你> ")
    if os.environ.get("TERM", "") in ("", "dumb"):
        return lambda: input(prompt)
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    bold = not os.environ.get("NO_COLOR")

    def read() -> str:
        return session.prompt([("bold" if bold else "", prompt)])

    return read


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
