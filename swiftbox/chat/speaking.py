"""Asks a question of all sides and shows the answers as they come; Ctrl-C stops them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from swiftbox.chat.columns import LEAST_WIDTH, Columns, squeezed
from swiftbox.chat.conversation import Conversation
from swiftbox.language import text
from swiftbox.serving.talking import Piece, Side, together


@dataclass
class Speaking:
    """Where answers go, and how long they may be."""

    sides: Sequence[Side]
    max_tokens: int
    out: TextIO
    notes: TextIO
    named: bool = True
    """Whether each answer is headed by who gives it."""

    def ask(self, question: str, conversation: Conversation) -> bool:
        """Ask, show and keep; tell whether it went to its end and nobody failed.

        What was said before a stop is kept; a question without any answer is not.
        """
        stop = threading.Event()
        said = [""] * len(self.sides)
        pieces = together(self.sides, conversation.asked(question), self.max_tokens, stop)
        show = self._beside if self._is_wide() else self._below
        stopped = False
        try:
            fine = show(pieces, said)
        except KeyboardInterrupt:
            stopped, fine = True, False
        finally:
            stop.set()
        if stopped:
            self._note("\n" + text("(stopped)", "（已停止）"))
        if all(one.strip() for one in said):
            conversation.add(question, [one.strip() for one in said])
        return fine

    def _is_wide(self) -> bool:
        two = len(self.sides) == 2 and self.out.isatty()
        return two and shutil.get_terminal_size().columns >= LEAST_WIDTH

    def _beside(self, pieces: Iterator[Piece], said: list[str]) -> bool:
        width = shutil.get_terminal_size().columns
        columns = Columns(width, self._write)
        columns.head((self.sides[0].name, self.sides[1].name))
        ends = []
        for one in pieces:
            said[one.side] += one.text
            columns.add(one.side, one.text)
            if one.finish:
                columns.end(one.side)
                ends.append(one)
        return self._ended(ends)

    def _below(self, pieces: Iterator[Piece], said: list[str]) -> bool:
        """Show one side after the other; what the second says meanwhile waits."""
        ends: list[Piece] = []
        shown, waiting = 0, [""] * len(self.sides)
        self._begin(0)
        ends_before = 0
        for one in pieces:
            said[one.side] += one.text
            waiting[one.side] += one.text
            ends += [one] if one.finish else []
            while True:
                words = waiting[shown]
                if self.out.isatty():
                    words, ends_before = squeezed(words, ends_before)
                self._write(words)
                waiting[shown] = ""
                if not any(end.side == shown for end in ends):
                    break
                self._write("\n")
                if shown + 1 == len(self.sides):
                    break
                shown, ends_before = shown + 1, 0
                self._begin(shown)
        return self._ended(ends)

    def _begin(self, side: int) -> None:
        if self.named or len(self.sides) > 1:
            self._write(f"{self.sides[side].name}> ")

    def _ended(self, ends: Sequence[Piece]) -> bool:
        for one in ends:
            name = self.sides[one.side].name
            if one.error:
                self._note(f"error: {name}: {one.error}")
            elif one.finish == "length":
                self._note(
                    text(
                        f"({name} was cut: max_tokens: {self.max_tokens}, or no room left)",
                        f"（{name} 被截断：max_tokens: {self.max_tokens}，或已无空间）",
                    )
                )
        return not any(one.error for one in ends)

    def _write(self, words: str) -> None:
        if words:
            self.out.write(words)
            self.out.flush()

    def _note(self, words: str) -> None:
        with suppress(BrokenPipeError):
            self.notes.write(words + "\n")
            self.notes.flush()
