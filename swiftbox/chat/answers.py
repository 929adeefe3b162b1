"""Asks all participants a question and prints their answers as they arrive; Ctrl-C stops them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TextIO

from swiftbox.chat.columns import MIN_COLUMNS, Columns, limit_line_breaks
from swiftbox.chat.conversation import Conversation
from swiftbox.language import text
from swiftbox.security.printable import PrintableStream, printable
from swiftbox.serving.questions import AnswerPiece, Participant, ask_all


@dataclass
class Answers:
    """What the participants answered to a question so far."""

    texts: list[str]
    shown: list[str]
    """What of the texts can be written to a terminal, with reasoning and calls."""
    reasoning: list[str]
    shows_reasoning: bool = True
    ends: dict[int, AnswerPiece] = field(default_factory=dict)
    """The last piece of each participant that has finished."""

    _streams: dict[int, PrintableStream] = field(default_factory=dict)

    @classmethod
    def of(cls, count: int, *, shows_reasoning: bool) -> Answers:
        """Return the answers of that many participants, who have not begun."""
        return cls([""] * count, [""] * count, [""] * count, shows_reasoning)

    def add(self, piece: AnswerPiece) -> str:
        """Take a further piece of an answer; return what of it can be shown."""
        number = piece.participant
        shown = self._with_headings(piece)
        self.texts[number] += piece.text
        self.reasoning[number] += piece.reasoning
        if number not in self._streams:
            self._streams[number] = PrintableStream()
        shown = self._streams[number].feed(shown, end=bool(piece.finish))
        self.shown[number] += shown
        if piece.finish:
            self.ends[number] = piece
        return shown

    def _with_headings(self, piece: AnswerPiece) -> str:
        """Return reasoning, answer and calls of a piece, each under a heading where it begins."""
        number, parts = piece.participant, []
        if piece.reasoning and self.shows_reasoning:
            is_first = not self.reasoning[number]
            parts.append(f"{text('[reasoning]', '[推理]')}\n" if is_first else "")
            parts.append(piece.reasoning)
        if piece.text:
            begins = not self.texts[number] and bool(self.reasoning[number] + piece.reasoning)
            is_headed = begins and self.shows_reasoning
            parts.append(f"\n\n{text('[answer]', '[回答]')}\n" if is_headed else "")
            parts.append(piece.text)
        for name, arguments in piece.calls:
            before = self.shown[number] + "".join(parts)
            parts.append("\n" if before and not before.endswith("\n") else "")
            parts.append(f"{text('[call]', '[调用]')} {name} {arguments}\n")
        return "".join(parts)


@dataclass
class AnswerPrinter:
    """Prints answers to `out` and remarks to `notes`."""

    participants: Sequence[Participant]
    max_tokens: int
    out: TextIO
    notes: TextIO
    shows_names: bool = True
    """Whether the name of the participant stands before a single answer."""

    def ask(self, question: str, conversation: Conversation) -> bool:
        """Ask, print and remember; return whether all participants finished without an error.

        What arrived before a stop is remembered; a question that has no answer is not.
        """
        stop = threading.Event()
        count = len(self.participants)
        answers = Answers.of(count, shows_reasoning=self.out.isatty())
        requests = conversation.requests(question)
        pieces = ask_all(self.participants, requests, self.max_tokens, stop)
        print_answers = self._side_by_side if self._is_wide() else self._one_by_one
        is_complete = False
        try:
            print_answers(pieces, answers)
            is_complete = self._report_ends(answers)
        except KeyboardInterrupt:
            self._note("\n" + text("(stopped)", "（已停止）"))
        finally:
            stop.set()
        texts = [answer.strip() for answer in answers.texts]
        if all(texts):
            conversation.add(question, texts, answers.reasoning)
        return is_complete

    def _is_wide(self) -> bool:
        is_pair = len(self.participants) == 2 and self.out.isatty()
        return is_pair and shutil.get_terminal_size().columns >= MIN_COLUMNS

    def _side_by_side(self, pieces: Iterator[AnswerPiece], answers: Answers) -> None:
        columns = Columns(shutil.get_terminal_size().columns, self._write)
        first, second = (printable(participant.name) for participant in self.participants)
        columns.write_head((first, second))
        for piece in pieces:
            columns.add(piece.participant, answers.add(piece))
            if piece.finish:
                columns.end(piece.participant)

    def _one_by_one(self, pieces: Iterator[AnswerPiece], answers: Answers) -> None:
        """Print one answer after the other; the second one waits while the first arrives."""
        current, printed, line_breaks = 0, 0, 0
        self._write_name(current)
        for piece in pieces:
            answers.add(piece)
            while True:
                content = answers.shown[current][printed:]
                printed = len(answers.shown[current])
                if self.out.isatty():
                    content, line_breaks = limit_line_breaks(content, line_breaks)
                self._write(content)
                if current not in answers.ends:
                    break
                self._write("\n")
                if current + 1 == len(self.participants):
                    break
                current, printed, line_breaks = current + 1, 0, 0
                self._write_name(current)

    def _write_name(self, participant: int) -> None:
        if self.shows_names or len(self.participants) > 1:
            self._write(f"{printable(self.participants[participant].name)}> ")

    def _report_ends(self, answers: Answers) -> bool:
        """Report errors and answers that were cut; return whether there was no error."""
        for number, end in answers.ends.items():
            name = self.participants[number].name
            if answers.reasoning[number] and not answers.shows_reasoning:
                count = len(answers.reasoning[number])
                self._note(
                    text(
                        f"({name} reasoned first: {count} characters, not in the output)",
                        f"（{name} 先进行了推理：{count} 个字符，未写入输出）",
                    )
                )
            if end.error:
                self._note(text(f"error: {name}: {end.error}", f"错误：{name}：{end.error}"))
            elif end.finish == "length":
                self._note(
                    text(
                        f"({name} was cut off: max_tokens: {self.max_tokens}, or context full)",
                        f"（{name} 被截断：max_tokens: {self.max_tokens}，或上下文已满）",
                    )
                )
        return not any(end.error for end in answers.ends.values())

    def _write(self, content: str) -> None:
        if content:
            self.out.write(content)
            self.out.flush()

    def _note(self, line: str) -> None:
        with suppress(BrokenPipeError):
            self.notes.write(printable(line, lines=True) + "\n")
            self.notes.flush()
