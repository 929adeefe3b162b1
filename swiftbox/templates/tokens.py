"""The tokens of a rendering, learned from where a server would begin to generate.

A server tokenizes a prompt, and the model writes the tokens after it. Where the complete text has
other tokens up to the start of a learned part, the two are therefore tokenized apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from swiftbox.templates.renderings import Rendering

ANCHORS = ("\n", ".", "a")
"""Texts in front of a part, so that no tokenizer puts a space there; most tokens end after one."""


@dataclass(frozen=True)
class TokenizedText:
    """The tokens of a text, and the characters that each stands for: first, and behind the last."""

    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]

    def after(self, count: int) -> TokenizedText | None:
        """Return the tokens after the first characters; None if no token begins there."""
        first = next((at for at, (start, _) in enumerate(self.offsets) if start >= count), None)
        if first is None or self.offsets[first][0] != count or self.offsets[first - 1][1] > count:
            return None
        shifted = [(start - count, end - count) for start, end in self.offsets[first:]]
        return TokenizedText(self.ids[first:], shifted)


Tokenize = Callable[[str], TokenizedText]


def tokenized(rendering: Rendering, together: TokenizedText, tokenize: Tokenize) -> TokenizedText:
    """Return the tokens of a rendering; `together` are those of its text as one."""
    starts = {span.start for span in rendering.spans if span.start}
    cuts: set[int] = set()
    tokens = together
    while differing := {
        start for start in starts - cuts if _differs(rendering.text, start, tokens, tokenize)
    }:
        cuts |= differing
        tokens = _in_parts(rendering.text, sorted(cuts), tokenize)
    return tokens


def _differs(text: str, start: int, tokens: TokenizedText, tokenize: Tokenize) -> bool:
    """Whether a server would make other tokens of the text before `start` than `tokens` has.

    A token may straddle the start. Besides, tokenizers split off the last of several spaces or line
    breaks where a word follows, but not at the end of a text.
    """
    count = bisect_left(tokens.offsets, start, key=itemgetter(0))
    if count and tokens.offsets[count - 1][1] > start:
        return True
    if not (text[start - 1].isspace() and text[max(0, start - 2)].isspace()):
        return False
    return list(tokenize(text[:start]).ids) != list(tokens.ids[:count])


def known_tokens(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return with how many of its first tokens some earlier row begins, for each row."""
    known = []
    for number, row in enumerate(rows):
        known.append(max((_shared(row, other) for other in rows[:number]), default=0))
    return known


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    return next((at for at in range(length) if first[at] != second[at]), length)


def _in_parts(text: str, cuts: Sequence[int], tokenize: Tokenize) -> TokenizedText:
    """Tokenize the parts of a text apart."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, end in pairwise([0, *cuts, len(text)]):
        part = text[start:end]
        tokens = continued(part, tokenize) if start else tokenize(part)
        ids += tokens.ids
        offsets += [(first + start, last + start) for first, last in tokens.offsets]
    return TokenizedText(ids, offsets)


def continued(part: str, tokenize: Tokenize) -> TokenizedText:
    """Return the tokens of a text that continues another, without a space put in front of it."""
    if tokenize("a").ids[:1] == tokenize("\na").ids[-1:]:
        return tokenize(part)
    for anchor in ANCHORS:
        rest = tokenize(anchor + part).after(len(anchor))
        if rest is not None:
            return rest
    return tokenize(part)
