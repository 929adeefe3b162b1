"""The kinds of training samples: a row of tokens, a preference pair, a labeled answer, a prompt.

Shapes: T tokens of a row. Every kind has `rows`, `trained`, `teaches` and `truncated`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The label of a token that is not learned, as in torch.nn.CrossEntropyLoss."""

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A row of tokens; the label of a token is itself if it is learned, otherwise IGNORED."""

    input_ids: Tokens  # (T,)
    labels: Tokens  # (T,)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Return the rows of tokens of this sample."""
        return (self,)

    @property
    def trained(self) -> int:
        """Count the learned tokens; nothing predicts the first one."""
        return int((self.labels[1:] != IGNORED).sum())

    @property
    def teaches(self) -> bool:
        """Whether any token is learned."""
        return self.trained > 0

    @property
    def learned_from(self) -> int:
        """Return the index of the first learned token, or the length if there is none."""
        learned = np.flatnonzero(self.labels != IGNORED)
        return int(learned[0]) if len(learned) else len(self)

    def truncated(self, length: int) -> TokenRow:
        """Return the first tokens."""
        return TokenRow(self.input_ids[:length], self.labels[:length])


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
    length = min(first.learned_from, second.learned_from, len(first), len(second))
    differs = np.flatnonzero(first.input_ids[:length] != second.input_ids[:length])
    return int(differs[0]) if len(differs) else length


@dataclass(frozen=True, slots=True)
class LabeledAnswer:
    """A single answer, desirable (`label` True) or not."""

    row: TokenRow
    label: bool

    def __len__(self) -> int:
        return len(self.row)

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Return the row in a tuple."""
        return (self.row,)

    @property
    def trained(self) -> int:
        """Count the learned tokens of the answer."""
        return self.row.trained

    @property
    def teaches(self) -> bool:
        """Whether the answer has a token to learn."""
        return self.row.teaches

    def truncated(self, length: int) -> LabeledAnswer:
        """Return the sample with its row truncated."""
        return replace(self, row=self.row.truncated(length))


@dataclass(frozen=True, slots=True)
class PromptSample:
    """A prompt to generate answers to, and the columns that reward functions read."""

    row: TokenRow
    messages: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Return the prompt as a row without labels."""
        return (self.row,)

    @property
    def trained(self) -> int:
        """Return 0: no token of a prompt is learned."""
        return 0

    @property
    def teaches(self) -> bool:
        """Return True: the model learns from its own answers to the prompt."""
        return True

    def truncated(self, length: int) -> PromptSample:  # noqa: ARG002 - the signature of all kinds
        """Return the whole prompt: a question without its end is a different question."""
        return self


Sample = TokenRow | PreferencePair | LabeledAnswer | PromptSample
