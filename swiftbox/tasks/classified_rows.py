"""Whether the rows of a classifier fit max_length and have labels that make a classifier."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.architectures.stored_outputs import require_outputs, stored_outputs
from swiftbox.config.classification import ClassificationFields
from swiftbox.config.train import TrainConfig
from swiftbox.data.classes import ClassTable, LabelRules, listed_names
from swiftbox.data.classified import no_tokens
from swiftbox.data.example import Example
from swiftbox.data.findings import CheckedRows
from swiftbox.data.fitting import nothing_within, require_training_rows, rows_too_long
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.inspection import Inspection
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
        is_short = size <= SHORT_BYTES + SPECIAL_TOKENS
        may_exceed = size > self.config.max_length and self.config.truncation != "right"
        if not (is_short or may_exceed) or self._tokenizer is None:
            return min(size, self.config.max_length)
        special = not classified.is_rendered
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

        return light_tokenizer(self.folder) if self.folder is not None else None


RowUsage = UsableRows | UsableClassifiedRows
"""Renders the rows of a training and counts those that it will use."""


def require_scores(config: TrainConfig, inspection: Inspection) -> None:
    """Raise ConfigError for a model that cannot score rows of this training, whatever they are."""
    if not isinstance(config, ClassificationFields):
        require_outputs(inspection.folder, 1)


def check_labels(
    config: ClassificationFields,
    folder: Path | None,
    rows: tuple[CheckedRows, CheckedRows | None],
    on_remark: Callable[[Remark], None],
) -> None:
    """Raise UserError if the labels of all rows make no classifier, or not that of the model.

    Args:
        config: The training of a classifier.
        folder: That of the model; None while it is not on this machine.
        rows: Those of the dataset, and those that are held out by name.
        on_remark: Takes what the labels call for.
    """
    learned, held_out = map(label_counts, rows)
    classes = LabelRules.of(config).table(learned + held_out)
    remark_unlearned_labels(classes, learned, on_remark)
    if folder is not None:
        require_outputs(folder, classes.outputs)
        remark_other_order(classes, folder, on_remark)


def label_counts(checked: CheckedRows | None) -> Counter[str]:
    """Return the rows of each label of a check; none without one."""
    account = checked.account if checked is not None else None
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


def remark_other_order(
    classes: ClassTable, folder: Path, on_remark: Callable[[Remark], None]
) -> None:
    """Remark on a classifier that has these labels in another order."""
    names = stored_outputs(read_json(folder / "config.json")) or ()
    if names == classes.names or sorted(names) != sorted(classes.names):
        return
    message = text(
        "label: the model predicts these labels already, in another order: its head has to "
        "unlearn that",
        "label：模型已能预测这些标签，但顺序不同：其输出头需要重新学习",
    )
    listed = json.dumps(names, ensure_ascii=False)
    hint = text(f"set label_names: {listed}", f"设 label_names: {listed}")
    on_remark(Remark(WARNING, "dataset", message, hint))
