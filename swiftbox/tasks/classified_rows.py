"""Whether the rows of a classifier fit max_length and have labels that make a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.config.classification import ClassificationFields
from swiftbox.config.train import TrainConfig
from swiftbox.data.classes import ClassTable, LabelRules, listed_names
from swiftbox.data.classified import no_tokens
from swiftbox.data.example import Example
from swiftbox.data.findings import CheckedRows
from swiftbox.data.fitting import nothing_within, require_training_rows, rows_too_long
from swiftbox.language import text
from swiftbox.models.requirements import WARNING, Remark
from swiftbox.tasks.usable_rows import UsableRows
from swiftbox.templates.account import Account
from swiftbox.templates.classified import ClassifiedRenderer, ClassifiedText
from swiftbox.templates.folder import template_of_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_TOKENS = 8
"""More than a tokenizer adds to a text or a pair."""

SHORT_BYTES = 16
"""Texts up to this size are tokenized: a tokenizer may keep nothing of them."""


@dataclass
class UsableClassifiedRows:
    """Reads the labels of rows, renders them, and counts those that the training will use."""

    renderer: ClassifiedRenderer
    config: TrainConfig
    folder: Path | None
    """That of the model; None while it is not on this machine."""
    rows: int = 0
    usable: int = 0
    longer: int = 0
    longest: int = 0

    @staticmethod
    def of(config: TrainConfig, folder: Path | None) -> UsableClassifiedRows:
        """Return the reader of a training; raise DataError for a template that lacks."""
        load = None if folder is None else lambda: template_of_folder(folder, config)
        return UsableClassifiedRows(ClassifiedRenderer.of(config, load), config, folder)

    @property
    def account(self) -> Account:
        """Return what happened to the rows that were rendered so far."""
        return self.renderer.account

    def render(self, example: Example, place: str) -> int:
        """Read and render a row; raise RowError if it cannot be trained on."""
        if self.folder is None:
            self.renderer.render_label(example, place)
            self.usable += 1
        else:
            self._count(self.renderer.classified(example, place))
        self.rows += 1
        return 1

    def _count(self, classified: ClassifiedText) -> None:
        limit = self.config.max_length
        tokens = self._tokens(classified)
        if tokens == 0:
            raise no_tokens()
        self.longest = max(self.longest, tokens)
        self.longer += tokens > limit
        self.usable += tokens <= limit or self.config.truncation == "right"

    def _tokens(self, classified: ClassifiedText) -> int:
        """Return the tokens of a row, or a larger number that is within the limit as well."""
        size = len((classified.text + (classified.second or "")).encode("utf-8", "replace"))
        size += SPECIAL_TOKENS
        is_clear = SHORT_BYTES + SPECIAL_TOKENS < size <= self.config.max_length
        if is_clear or self._tokenizer is None:
            return min(size, self.config.max_length)
        special = not classified.is_rendered
        if self.config.truncation == "right" and size > SHORT_BYTES + SPECIAL_TOKENS:
            return min(size, self.config.max_length)
        encoding = self._tokenizer.encode(
            classified.text, classified.second, add_special_tokens=special
        )
        return len(encoding.ids)

    def require_usable(self, *, is_complete: bool, takes_all: bool = True) -> None:
        """Raise DataError for rows that are too long, or if none is used.

        Without `is_complete` there are further rows, which are not on this machine. Without
        `takes_all` the training takes a sample of the rows.
        """
        limit = self.config.max_length
        refuses = self.config.truncation == "error" and (takes_all or self.longer == self.rows)
        if self.longer and refuses:
            raise rows_too_long(self.longer, self.rows, self.longest, limit)
        if is_complete and self.rows and not self.usable:
            raise nothing_within(self.rows, limit)

    def require_training_rows(self, *, is_complete: bool) -> None:
        """Raise DataError if the rows that are held out leave nothing to train on."""
        if is_complete and self.usable:
            require_training_rows(self.config.val_size, self.usable)

    @cached_property
    def _tokenizer(self) -> Tokenizer | None:
        from swiftbox.tasks.light_tokenizer import light_tokenizer

        tokenizer = light_tokenizer(self.folder) if self.folder is not None else None
        if tokenizer is not None:
            tokenizer.no_truncation()
        return tokenizer


RowUsage = UsableRows | UsableClassifiedRows
"""Renders the rows of a training and counts those that it will use."""


def check_labels(
    config: ClassificationFields,
    learned: CheckedRows,
    held_out: CheckedRows | None,
    on_remark: Callable[[Remark], None],
) -> None:
    """Raise DataError if the labels do not make a classifier; remark on those without a row."""
    classes = classes_of_rows(config, [learned, *([] if held_out is None else [held_out])])
    remark_unlearned_labels(classes, label_counts(learned), on_remark)


def classes_of_rows(config: ClassificationFields, checked: Sequence[CheckedRows]) -> ClassTable:
    """Return the outputs of a classifier from its checked rows.

    Raises DataError if the labels do not make a classifier.
    """
    return LabelRules.of(config).table(sum(map(label_counts, checked), Counter()))


def label_counts(checked: CheckedRows) -> Counter[str]:
    """Return the rows of each label of a check."""
    account = checked.account
    return Counter(account.labels() if isinstance(account, Account) else {})


def remark_unlearned_labels(
    classes: ClassTable, learned: Mapping[str, int], on_remark: Callable[[Remark], None]
) -> None:
    """Remark on outputs of which the training has no row."""
    lacking = [name for name in classes.names if not learned.get(name)]
    if not lacking:
        return
    names = listed_names(lacking)
    message = text(
        f"label: no row of dataset has {names}: the model cannot learn to predict it",
        f"label：dataset 中没有 {names} 的数据：模型学不到该标签",
    )
    hint = text("add rows with these labels", "请补充这些标签的数据")
    on_remark(Remark(WARNING, "dataset", message, hint))
