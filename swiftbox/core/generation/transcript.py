"""The text of one sequence as its tokens come: whole characters only, and nothing past a stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\ufffd"
"""What a decoder shows for the bytes of a character that are not all there yet."""

LONGEST_WAIT = 12
"""Tokens; a character has four bytes at most, what is unfinished for longer is no character."""


class Transcript:
    """Decodes tokens one by one and holds back what may still become a stop string."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.tokens: list[int] = []
        self.text = ""
        self.stopped = False
        self.ends: list[int] = []
        """Of each token, the characters of the text up to and with it, as far as known."""
        self._context = 0
        self._read = 0
        self._released = 0

    def add(self, token: int) -> None:
        """Take a token; `stopped` tells whether a stop string is complete."""
        self.tokens.append(token)
        before, now = self._decoded()
        waited = len(self.tokens) - self._read
        if not now.endswith(UNFINISHED) or waited > LONGEST_WAIT:
            self._take(now[len(before) :])
        else:
            self.ends.append(len(self.text))

    def _decoded(self) -> tuple[str, str]:
        return (
            self._words(self.tokens[self._context : self._read]),
            self._words(self.tokens[self._context :]),
        )

    def _words(self, tokens: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _take(self, new: str) -> None:
        longest = max(map(len, self.stops), default=0)
        known = len(self.text)
        self.text += new
        whole = len(self.text)
        self._context, self._read = self._read, len(self.tokens)
        found = [
            at
            for stop in self.stops
            if (at := self.text.find(stop, max(0, known - longest + 1))) >= 0
        ]
        if found:
            self.text = self.text[: min(found)]
            self.stopped = True
        self.ends += [whole] * (len(self.tokens) - len(self.ends))

    def release(self) -> str:
        """Return the text that is certain and was not returned before."""
        end = len(self.text)
        if not self.stopped:
            end -= max((self._overlap(stop) for stop in self.stops), default=0)
        new = self.text[self._released : end]
        self._released = max(self._released, end)
        return new

    def _overlap(self, stop: str) -> int:
        """Return how much of the end of the text is the beginning of a stop string."""
        for count in range(min(len(stop) - 1, len(self.text)), 0, -1):
            if self.text.endswith(stop[:count]):
                return count
        return 0

    def flush(self) -> None:
        """Take what is unfinished as it is: no token follows."""
        if not self.stopped and self._read < len(self.tokens):
            before, now = self._decoded()
            self._take(now[len(before) :])

    def finish(self) -> str:
        """Return what is left: no token follows."""
        self.flush()
        new = self.text[self._released :]
        self._released = len(self.text)
        return new

    def told(self) -> int:
        """Return how many tokens have their text released; of what a stop cut, those before it."""
        count = len(self.ends)
        if self.stopped:
            return sum(one < len(self.text) for one in [0, *self.ends[:-1]])
        while count and self.ends[count - 1] > self._released:
            count -= 1
        return count
