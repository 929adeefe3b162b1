"""The kinds of training samples: token rows, pairs, labeled, generated or classified rows, prompts.

Shapes: T tokens of a row. Every kind has `rows`, `prefixes`, `trained`, `teaches` and `truncated`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The label of a token that is not learned, as in torch.nn.CrossEntropyLoss."""

Tokens = npt.NDArray[np.int32]


class SharedPrefix(NamedTuple):
    """The first tokens of a row that an earlier row of the same sample begins with."""

    row: int
    """The place of the earlier row among the rows of the sample."""
    tokens: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A row of tokens; the label of a token is itself if it is learned, otherwise IGNORED."""

    input_ids: Tokens  # (T,)
    labels: Tokens  # (T,)
    weights: npt.NDArray[np.float32] | None = None
    """The weight of each learned token in the loss; None: all are 1.  # (T,)"""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Return the rows of tokens of this sample."""
        return (self,)

    @property
    def prefixes(self) -> tuple[SharedPrefix, ...]:
        """Return an empty tuple: there is no second row."""
        return ()

    @property
    def trained(self) -> int:
        """Count the learned tokens; nothing predicts the first one."""
        return int((self.labels[1:] != IGNORED).sum())

    @property
    def teaches(self) -> bool:
        """Whether any token is learned."""
        return self.trained > 0

    @property
    def last_prompt(self) -> Tokens:
        """Return the tokens before the last learned part: what its answer replies to."""
        learned = np.flatnonzero(self.labels != IGNORED)
        starts = learned[np.diff(learned, prepend=-2) > 1]  # of the learned parts
        return self.input_ids[: max(1, int(starts[-1]))] if len(starts) else self.input_ids

    @property
    def learned_from(self) -> int:
        """Return the index of the first learned token, or the length if there is none."""
        learned = np.flatnonzero(self.labels != IGNORED)
        return int(learned[0]) if len(learned) else len(self)

    def truncated(self, length: int) -> TokenRow:
        """Return the first tokens."""
        weights = None if self.weights is None else self.weights[:length]
        return TokenRow(self.input_ids[:length], self.labels[:length], weights)


@dataclass(frozen=True, slots=True)
class TurnRows:
    """The rows of a conversation, each of which learns another turn as a server would render it.

    A row after the first may begin with tokens of an earlier one, which can be computed once: a
    chain where the template only appends, a trunk with branches where it rewrites earlier turns.
    """

    rows: tuple[TokenRow, ...]
    prefixes: tuple[SharedPrefix, ...] = ()
    """What each row after the first shares with an earlier one, before its first learned token."""

    def __post_init__(self) -> None:
        if len(self.prefixes) != len(self.rows) - 1:
            object.__setattr__(self, "prefixes", shared_prefixes(self.rows))

    def __len__(self) -> int:
        return max(map(len, self.rows))

    @property
    def trained(self) -> int:
        """Count the learned tokens of all rows."""
        return sum(row.trained for row in self.rows)

    @property
    def teaches(self) -> bool:
        """Whether any row has a token to learn."""
        return any(row.teaches for row in self.rows)

    def truncated(self, length: int) -> TurnRows:
        """Return the rows truncated, without those that have nothing left to learn."""
        rows = [row.truncated(length) for row in self.rows]
        return TurnRows(tuple([row for row in rows if row.teaches] or rows[:1]))

    def pieces(self, most_tokens: int, *, shares: bool) -> list[TurnRows]:
        """Split the conversation between turns, so that each piece has at most that many tokens.

        A row alone may have more. With `shares` a prefix counts once in a piece.
        """
        if computed_tokens(self, shares=shares) <= most_tokens:
            return [self]
        starts, filled = [0], len(self.rows[0])
        for number, row in enumerate(self.rows[1:], 1):
            earlier = self.rows[starts[-1] : number]
            added = len(row) - (prefix_of(row, earlier).tokens if shares else 0)
            if filled + added > most_tokens:
                starts.append(number)
                filled, added = 0, len(row)
            filled += added
        bounds = pairwise([*starts, len(self.rows)])
        return [TurnRows(self.rows[start:end]) for start, end in bounds]


def shared_prefixes(rows: Sequence[TokenRow]) -> tuple[SharedPrefix, ...]:
    """Return what each row after the first has in common with the earlier row most like it."""
    return tuple([prefix_of(row, rows[:number]) for number, row in enumerate(rows)][1:])


def prefix_of(row: TokenRow, earlier: Sequence[TokenRow]) -> SharedPrefix:
    """Return what a row has in common with the most similar of earlier rows."""
    lengths = [common_prefix(row, other, row.learned_from) for other in earlier]
    longest = max(lengths, default=0)
    return SharedPrefix(lengths.index(longest) if lengths else 0, longest)


def common_prefix(first: TokenRow, second: TokenRow, limit: int) -> int:
    """Return how many tokens two rows begin with alike, at most `limit`."""
    length = min(limit, len(first), len(second))
    differs = first.input_ids[:length] != second.input_ids[:length]
    place = int(differs.argmax()) if length else 0
    return place if length and differs[place] else length


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to a prompt, the better one first; both rows include the prompt.

    The first `shared` tokens are equal and precede both answers, so they can be computed once.
    """

    chosen: TokenRow
    rejected: TokenRow
    margin: float = 0.0
    learns_prompt: bool = False
    """Whether the likelihood term, if the loss has one, includes the prompt."""
    reference: tuple[float, float] | None = None
    """Log-probabilities of both answers under the reference policy, if precomputed."""
    shared: int = field(default=-1)

    def __post_init__(self) -> None:
        if self.shared < 0:
            object.__setattr__(self, "shared", shared_tokens(self.chosen, self.rejected))

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Return both rows, the chosen one first."""
        return (self.chosen, self.rejected)

    @property
    def prefixes(self) -> tuple[SharedPrefix, ...]:
        """Return the prompt, which the second row shares with the first."""
        return (SharedPrefix(0, self.shared),)

    @property
    def trained(self) -> int:
        """Count the learned tokens of both answers."""
        return self.chosen.trained + self.rejected.trained

    @property
    def teaches(self) -> bool:
        """Whether both answers have a token to learn."""
        return self.chosen.teaches and self.rejected.teaches

    def truncated(self, length: int) -> PreferencePair:
        """Return the pair with both rows truncated."""
        chosen, rejected = self.chosen.truncated(length), self.rejected.truncated(length)
        return replace(self, chosen=chosen, rejected=rejected, shared=min(self.shared, length))


def shared_tokens(first: TokenRow, second: TokenRow) -> int:
    """Return the length of the common prefix before the first learned token of either row."""
    return common_prefix(first, second, min(first.learned_from, second.learned_from))


@dataclass(frozen=True, slots=True)
class SingleRow:
    """What the kinds of samples with one row have in common."""

    row: TokenRow

    def __len__(self) -> int:
        return len(self.row)

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Return the row in a tuple."""
        return (self.row,)

    @property
    def prefixes(self) -> tuple[SharedPrefix, ...]:
        """Return an empty tuple: there is no second row."""
        return ()

    @property
    def trained(self) -> int:
        """Count the learned tokens of the row."""
        return self.row.trained

    @property
    def teaches(self) -> bool:
        """Whether the row has a token to learn."""
        return self.row.teaches

    def truncated(self, length: int) -> Self:
        """Return the sample with its row truncated."""
        return replace(self, row=self.row.truncated(length))


@dataclass(frozen=True, slots=True)
class LabeledAnswer(SingleRow):
    """A single answer, desirable (`label` True) or not."""

    label: bool


@dataclass(frozen=True, slots=True)
class ClassifiedRow(SingleRow):
    """A row with the names of its labels, or the number to predict."""

    target: tuple[str, ...] | float
    second_from: int = 0
    """Where the second of two texts starts, for models that tell them apart; 0: there is none."""
    uncut: int = 0
    """The tokens of a text that the tokenizer has cut to max_length; 0: it is not cut."""

    def __len__(self) -> int:
        return self.uncut or len(self.row)

    @property
    def trained(self) -> int:
        """Return 0: no token is learned, the row as a whole is."""
        return 0

    @property
    def teaches(self) -> bool:
        """Return True: each row has a target."""
        return True

    def truncated(self, length: int) -> Self:
        """Return the row as the tokenizer has cut it, else its first tokens."""
        return replace(self, row=self.row.truncated(length), uncut=0)


@dataclass(frozen=True, slots=True)
class GeneratedAnswer(SingleRow):
    """A prompt with an answer that a model wrote during the training; made from a row of data."""

    by_student: bool
    """Whether the model that is trained wrote it, not its teacher."""


@dataclass(frozen=True, slots=True)
class PromptSample(SingleRow):
    """A prompt to generate answers to, and the columns that reward functions read."""

    messages: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, Any]

    @property
    def trained(self) -> int:
        """Return 0: no token of a prompt is learned."""
        return 0

    @property
    def teaches(self) -> bool:
        """Return True: the model learns from its own answers to the prompt."""
        return True

    def truncated(self, length: int) -> Self:  # noqa: ARG002 - the signature of all kinds
        """Return the whole prompt: a question without its end is a different question."""
        return self


Sample = (
    TokenRow
    | TurnRows
    | PreferencePair
    | LabeledAnswer
    | ClassifiedRow
    | GeneratedAnswer
    | PromptSample
)


def computed_tokens(sample: Sample, *, shares: bool) -> int:
    """Count the tokens of all rows; with `shares`, what rows share counts once."""
    tokens = sum(map(len, sample.rows))
    return tokens - sum(prefix.tokens for prefix in sample.prefixes) if shares else tokens
