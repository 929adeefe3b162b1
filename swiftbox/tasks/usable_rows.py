"""Whether the rows of a training fit max_length and leave something to train on.

A text has at most as many tokens as bytes. Where that is not enough to know, the tokens are
counted, with the `tokenizers` package alone; a normalizer that lengthens texts is not foreseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.config.train import TrainConfig
from swiftbox.data.example import Example
from swiftbox.data.fitting import (
    held_out_rows,
    nothing_within,
    require_training_rows,
    rows_too_long,
)
from swiftbox.templates.examples import ExampleRenderer
from swiftbox.templates.renderings import Rendering

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from swiftbox.templates.account import Account

ROWS_TRIED = 10_000
"""Beyond that, a `val_size` below 1 leaves rows to train on."""


@dataclass
class UsableRows:
    """Renders rows, and counts those that the training will use until there are surely enough."""

    renderer: ExampleRenderer
    config: TrainConfig
    folder: Path
    rows: int = 0
    usable: int = 0
    longer: int = 0
    longest: int = 0
    _needed: int = field(init=False)

    def __post_init__(self) -> None:
        """Work out how many usable rows leave some to train on."""
        val_size = self.config.val_size
        candidates = range(1, ROWS_TRIED)
        if val_size >= 1:
            self._needed = int(val_size) + 1
        else:
            self._needed = next(
                (rows for rows in candidates if held_out_rows(val_size, rows) < rows), ROWS_TRIED
            )

    @property
    def account(self) -> Account:
        """Return what happened to the rows that were rendered so far."""
        return self.renderer.account

    def render(self, example: Example, place: str) -> int:
        """Render an example and count it; return the number of its texts.

        Raises RowError if it cannot be trained on.
        """
        renderings = [rendering for _, rendering in self.renderer.renderings(example, place)]
        self.rows += 1
        if self.config.truncation == "error":
            self._count_longer(renderings)
        if self.usable < self._needed and self._is_usable(example, renderings):
            self.usable += 1
        return len(renderings)

    def require_usable(self, *, is_complete: bool, takes_all: bool = True) -> None:
        """Raise DataError for rows that are too long, or if none has something to learn.

        Without `is_complete` there are further rows, which are not on this machine. Without
        `takes_all` the training takes a sample of the rows.
        """
        limit = self.config.max_length
        if self.longer and (takes_all or self.longer == self.rows):
            raise rows_too_long(self.longer, self.rows, self.longest, limit)
        if is_complete and self.rows and not self.usable:
            raise nothing_within(self.rows, limit)

    def require_training_rows(self, *, is_complete: bool) -> None:
        """Raise DataError if the rows that are held out leave nothing to train on."""
        if is_complete and self.rows and self.usable < self._needed:
            require_training_rows(self.config.val_size, self.usable)

    def _count_longer(self, renderings: Sequence[Rendering]) -> None:
        tokens = max((self._tokens(rendering.text) for rendering in renderings), default=0)
        self.longest = max(self.longest, tokens)
        self.longer += tokens > self.config.max_length

    def _is_usable(self, example: Example, renderings: Sequence[Rendering]) -> bool:
        limit = self.config.max_length
        if self.renderer.generates_answers:
            return True
        if self.config.truncation != "right":
            longest = max((self._tokens(rendering.text) for rendering in renderings), default=0)
            if longest > limit:
                return False
        teaches = [self._teaches(rendering, limit) for rendering in renderings]
        return all(teaches) if example.rejected else any(teaches)

    def _teaches(self, rendering: Rendering, limit: int) -> bool:
        """Tell whether a token is learned within the limit; nothing predicts the first one."""
        if not rendering.spans:
            return False
        start = min(span.start for span in rendering.spans)
        return self._tokens(rendering.text[:start]) < limit

    def _tokens(self, content: str) -> int:
        """Return the tokens of a text, or a larger number that is within the limit as well."""
        size = len(content.encode("utf-8", "replace"))
        if size < self.config.max_length or self._tokenizer is None:
            return min(size, self.config.max_length - 1)
        return len(self._tokenizer.encode(content, add_special_tokens=False).ids)

    @cached_property
    def _tokenizer(self) -> Tokenizer | None:
        from swiftbox.tasks.light_tokenizer import light_tokenizer

        return light_tokenizer(self.folder)
