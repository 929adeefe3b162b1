"""The conversation loop: a line editor at a terminal, plain lines from a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from swiftbox.chat.answers import AnswerPrinter
from swiftbox.chat.commands import run_command
from swiftbox.chat.conversation import Conversation
from swiftbox.language import text
from swiftbox.security.printable import printable
from swiftbox.serving.questions import Participant

ReadLine = Callable[[], str]
"""Returns a line; raises EOFError at the end, KeyboardInterrupt when interrupted."""


def talk(participants: Sequence[Participant], *, system: str, max_tokens: int) -> int:
    """Chat until the user leaves; return the exit code."""
    conversation = Conversation(len(participants), system)
    printer = AnswerPrinter(participants, max_tokens, sys.stdout, sys.stderr)
    if not sys.stdin.isatty():
        printer.shows_names = False
        return _answer_pipe(printer, conversation)
    names = " · ".join(participant.name for participant in participants)
    _say(
        text(
            f"{names}   /help lists commands; Ctrl-C stops an answer, then leaves",
            f"{names}   /help 查看命令；Ctrl-C 停止回答，再按离开",
        )
    )
    for question in _questions(_typed_lines(_line_editor()), conversation):
        printer.ask(question, conversation)
    return 0


def answer_once(
    participants: Sequence[Participant], question: str, *, system: str, max_tokens: int
) -> int:
    """Ask one question and print the answers; return the exit code."""
    printer = AnswerPrinter(participants, max_tokens, sys.stdout, sys.stderr, shows_names=False)
    return 0 if printer.ask(question, Conversation(len(participants), system)) else 1


def _answer_pipe(printer: AnswerPrinter, conversation: Conversation) -> int:
    """Answer each line of a pipe until one fails; stdout gets nothing but the answers."""
    for question in _questions(sys.stdin, conversation):
        if not printer.ask(question, conversation):
            return 1
    return 0


def _questions(lines: Iterable[str], conversation: Conversation) -> Iterator[str]:
    """Yield the questions among lines, and run the commands; a command may yield one too."""
    for line in lines:
        question = line.strip()
        if question.startswith("/"):
            result = run_command(question, conversation, saved=conversation.participants - 1)
            for shown in result.lines:
                _say(shown)
            if result.quits:
                return
            question = result.question or ""
        if question:
            yield question


def _typed_lines(read_line: ReadLine) -> Iterator[str]:
    """Yield lines until the end of the input or Ctrl-C at an empty prompt."""
    while True:
        try:
            line = read_line()
        except (EOFError, KeyboardInterrupt):
            return
        yield line


def _line_editor() -> ReadLine:
    """Return what reads a line: an editor with history, or plain input on a dumb terminal."""
    prompt = text("you> ", "你> ")
    if os.environ.get("TERM", "") in ("", "dumb"):
        return lambda: input(prompt)
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    style = "" if os.environ.get("NO_COLOR") else "bold"
    return lambda: session.prompt([(style, prompt)])


def _say(line: str) -> None:
    sys.stderr.write(printable(line, lines=True) + "\n")
    sys.stderr.flush()
