"""The text of one sequence as its tokens arrive: complete characters only, nothing past a stop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any


@functools.lru_cache(maxsize=32)
def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that a tokenizer leaves out with `skip_special_tokens`."""
    added = tokenizer.added_tokens_decoder
    special = {number for number, token in added.items() if token.special}
    return frozenset(special | set(tokenizer.all_special_ids))


INCOMPLETE = "\ufffd"
"""What a decoder returns for a character whose bytes have not all arrived."""

MAX_PENDING_TOKENS = 12
"""A character has four bytes at most: what is incomplete for longer is not a character."""


class Transcript:
    """Decodes tokens one by one, and holds back text that may become a stop string."""

    def __init__(
        self, tokenizer: Any, stops: Sequence[str], visible: frozenset[int] = frozenset()
    ) -> None:
        self.tokenizer = tokenizer
        self._hidden = special_ids(tokenizer) - visible if visible else frozenset()
        self.stops = stops
        self.tokens: list[int] = []
        self.text = ""
        self.stopped = False
        self.ends: list[int] = []
        """The length of the text up to the end of each token, as far as it is known."""
        self._context_start = 0
        self._decoded_count = 0
        self._released = 0

    def add(self, token: int) -> None:
        """Add a token; afterwards `stopped` says whether a stop string is complete."""
        self.tokens.append(token)
        before, now = self._decode_tail()
        pending = len(self.tokens) - self._decoded_count
        if not now.endswith(INCOMPLETE) or pending > MAX_PENDING_TOKENS:
            self._append(now[len(before) :])
        else:
            self.ends.append(len(self.text))

    def _decode_tail(self) -> tuple[str, str]:
        """Return the text of the last tokens, without and with those that are pending.

        Some decoders add a space before the first token: both start at the same token.
        """
        context = self.tokens[self._context_start : self._decoded_count]
        return self._decode(context), self._decode(self.tokens[self._context_start :])

    def _decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens without the special ones, but for those that are visible."""
        if self._hidden:
            tokens = [token for token in tokens if token not in self._hidden]
        return str(
            self.tokenizer.decode(
                tokens, skip_special_tokens=not self._hidden, clean_up_tokenization_spaces=False
            )
        )

    def _append(self, new: str) -> None:
        longest_stop = max(map(len, self.stops), default=0)
        old_length = len(self.text)
        self.text += new
        new_length = len(self.text)
        self._context_start, self._decoded_count = self._decoded_count, len(self.tokens)
        search_start = max(0, old_length - longest_stop + 1)
        matches = [self.text.find(stop, search_start) for stop in self.stops]
        positions = [position for position in matches if position >= 0]
        if positions:
            self.text = self.text[: min(positions)]
            self.stopped = True
        self.ends += [new_length] * (len(self.tokens) - len(self.ends))

    def release(self) -> str:
        """Return the text that is final and was not returned before."""
        end = len(self.text)
        if not self.stopped:
            end -= max((self._overlap(stop) for stop in self.stops), default=0)
        new = self.text[self._released : end]
        self._released = max(self._released, end)
        return new

    def _overlap(self, stop: str) -> int:
        """Return how many characters at the end of the text begin a stop string."""
        for count in range(min(len(stop) - 1, len(self.text)), 0, -1):
            if self.text.endswith(stop[:count]):
                return count
        return 0

    def flush(self) -> None:
        """Accept incomplete characters as they are: no token follows."""
        if not self.stopped and self._decoded_count < len(self.tokens):
            before, now = self._decode_tail()
            self._append(now[len(before) :])

    def finish(self) -> str:
        """Return the rest of the text: no token follows."""
        self.flush()
        new = self.text[self._released :]
        self._released = len(self.text)
        return new

    def released_tokens(self) -> int:
        """Return how many tokens have all their text released; a stop drops those after it."""
        count = len(self.ends)
        if self.stopped:
            return sum(start < len(self.text) for start in [0, *self.ends[:-1]])
        while count and self.ends[count - 1] > self._released:
            count -= 1
        return count
