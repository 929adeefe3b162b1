"""What training takes one of: a row of tokens, a pair to prefer in, a judged answer, a prompt.

Shapes: T tokens of a row. Every kind can be cut to a length and tells whether it teaches anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The label of a token that is not learned; torch's own convention."""

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of tokens; a label is the token where it is learned, IGNORED elsewhere."""

    input_ids: Tokens  # (T,)
    labels: Tokens  # (T,)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows of tokens of this sample."""
        return (self,)

    @property
    def trained(self) -> int:
        """Count the tokens that are learned; the first has nothing before it to learn from."""
        return int((self.labels[1:] != IGNORED).sum())

    @property
    def teaches(self) -> bool:
        """Tell whether there is anything to learn."""
        return self.trained > 0

    @property
    def learned_from(self) -> int:
        """Return the place of the first learned token; the length where there is none."""
        learned = np.flatnonzero(self.labels != IGNORED)
        return int(learned[0]) if len(learned) else len(self)

    def cut(self, length: int) -> Row:
        """Return the first tokens."""
        return Row(self.input_ids[:length], self.labels[:length])


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the better first; both rows are whole and begin alike.

    `shared` tokens at the start are the same and before any answer: they can be computed once.
    """

    chosen: Row
    rejected: Row
    margin: float = 0.0
    learns_prompt: bool = False
    """Whether a likelihood term beside the preference covers the prompt too."""
    reference: tuple[float, float] | None = None
    """Log-probabilities of both answers under the reference policy, where they are known."""
    shared: int = field(default=-1)

    def __post_init__(self) -> None:
        if self.shared < 0:
            object.__setattr__(self, "shared", shared_tokens(self.chosen, self.rejected))

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return both rows, the chosen one first."""
        return (self.chosen, self.rejected)

    @property
    def trained(self) -> int:
        """Count the tokens of both answers."""
        return self.chosen.trained + self.rejected.trained

    @property
    def teaches(self) -> bool:
        """Tell whether both answers have a token left."""
        return self.chosen.teaches and self.rejected.teaches

    def cut(self, length: int) -> Pair:
        """Return the pair with both rows cut."""
        chosen, rejected = self.chosen.cut(length), self.rejected.cut(length)
        return replace(self, chosen=chosen, rejected=rejected, shared=min(self.shared, length))


def shared_tokens(one: Row, other: Row) -> int:
    """Count the tokens at the start that both rows have and neither learns."""
    length = min(one.learned_from, other.learned_from, len(one), len(other))
    differs = np.flatnonzero(one.input_ids[:length] != other.input_ids[:length])
    return int(differs[0]) if len(differs) else length


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer and whether it is desirable."""

    row: Row
    label: bool

    def __len__(self) -> int:
        return len(self.row)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the one row."""
        return (self.row,)

    @property
    def trained(self) -> int:
        """Count the tokens of the answer."""
        return self.row.trained

    @property
    def teaches(self) -> bool:
        """Tell whether the answer has a token left."""
        return self.row.teaches

    def cut(self, length: int) -> Judged:
        """Return the sample with its row cut."""
        return replace(self, row=self.row.cut(length))


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to be answered, and the columns that reward functions look at."""

    row: Row
    messages: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the prompt as a row of which nothing is learned."""
        return (self.row,)

    @property
    def trained(self) -> int:
        """Nothing of a prompt is learned."""
        return 0

    @property
    def teaches(self) -> bool:
        """A prompt is answered, whatever its length."""
        return True

    def cut(self, length: int) -> Prompt:  # noqa: ARG002 - the other kinds' signature
        """Prompts are never cut: a question without its end is another question."""
        return self


Sample = Row | Pair | Judged | Prompt
