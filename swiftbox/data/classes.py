"""The labels of a classifier: how a row's value is read, and the order of the model's outputs.

A label is its name: 1, 1.0 and "1" are the same. Where the config names no labels, those of all
rows are taken, numbers by value and texts by their characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.config.classification import REGRESSION, SINGLE, ClassificationFields, Problem
from swiftbox.data.example import RowError, kind_of
from swiftbox.data.literals import decoded
from swiftbox.errors import DataError
from swiftbox.formatting import counted, nearest, suggestion_ending
from swiftbox.language import text
from swiftbox.security.printable import printable

LABEL = "label"
"""The column of the label under our name, and the kind of rows whose label is not usable."""

MOST_SHOWN = 12
"""Labels that a message lists."""

LONGEST_NAME = 200
"""Characters of a label: a longer text is a mistake."""

CLASSES_FILE = "classes.json"
"""The file beside an adapter with what its outputs mean, which its base's config.json lacks."""

Target = tuple[str, ...] | float
"""The names of a row's labels, or the number to predict."""

FLAGS = ("0", "1")
"""Values of a list that says of each label whether a row has it."""


@dataclass(frozen=True)
class ClassTable:
    """The outputs of a classifier in their order; a regression has one output without a name."""

    problem: Problem
    names: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Return the number of outputs of the model."""
        return max(1, len(self.names))

    def numbers(self, target: Target) -> float | int | list[float]:
        """Return a row's target as the loss takes it: an index, a 0 or 1 per label, a number."""
        if not isinstance(target, tuple):
            return target
        if self.problem == SINGLE:
            return self.names.index(target[0])
        return [float(name in target) for name in self.names]

    def settings(self) -> dict[str, Any]:
        """Return the keys of a config.json that say what the outputs mean."""
        settings: dict[str, Any] = {"problem_type": self.problem}
        if self.names:
            settings["id2label"] = dict(enumerate(self.names))
            settings["label2id"] = {name: number for number, name in enumerate(self.names)}
        return settings


@dataclass(frozen=True)
class LabelRules:
    """What the config says of labels: it reads the values of rows, and orders the outputs."""

    problem: Problem
    names: tuple[str, ...] = ()
    """In the order of the outputs; empty: those of the rows."""
    count: int | None = None

    @staticmethod
    def of(config: ClassificationFields) -> LabelRules:
        """Return the rules of a config."""
        names = tuple(name.strip() for name in config.label_names or ())
        return LabelRules(config.problem, names, config.num_labels)

    def read(self, value: Any) -> Target:
        """Return the target of a row; raise RowError for an unusable value."""
        if self.problem == REGRESSION:
            return _number(value)
        labels = [_name(label) for label in _listed(value)]
        if self.problem == SINGLE and len(labels) != 1:
            raise _several(len(labels))
        return tuple([self._known(name) for name in self._without_flags(labels)])

    def _without_flags(self, labels: list[str]) -> list[str]:
        """Return the labels of a list, which may also hold a 0 or 1 for each label.

        Raises RowError for labels that repeat, and where both could be meant.
        """
        if len(labels) < 2:
            return labels
        outputs = len(self.names) or self.count
        are_flags = len(labels) == outputs and all(label in FLAGS for label in labels)
        if len(set(labels)) == len(labels):
            if are_flags:  # two labels, 0 and 1
                raise _two_readings(labels)
            return labels
        if are_flags:
            names = self.names or tuple(map(str, range(len(labels))))
            return [name for name, flag in zip(names, labels, strict=True) if flag == "1"]
        raise _repeated(labels)

    def _known(self, name: str) -> str:
        """Return a label as it is named in the config; raise RowError for one that is not there."""
        if not self.names:
            if self.count is not None and is_number(name) and not _is_below(name, self.count):
                raise _beyond(name, self.count)
            return name
        if name in self.names:
            return name
        if _is_below(name, len(self.names)) and not any(map(is_number, self.names)):
            return self.names[int(name)]
        raise _unknown(name, self.names)

    def table(self, counts: Mapping[str, int]) -> ClassTable:
        """Return the outputs for the labels of all rows, counted by name.

        Raises DataError for labels that are fewer than two, or not as many as num_labels says.
        """
        if self.problem == REGRESSION:
            return ClassTable(REGRESSION)
        names = self.names or self._names(counts)
        if self.count is not None and len(names) != self.count:
            raise _other_number(names, self.count, named=bool(self.names))
        if self.problem == SINGLE and len(names) < 2:
            raise _only(names)
        return ClassTable(self.problem, tuple(names))

    def _names(self, counts: Mapping[str, int]) -> Sequence[str]:
        names = ordered(counts)
        if self.count is not None and names and all(map(is_number, names)):
            return [str(number) for number in range(self.count)]
        return names


def ordered(names: Iterable[str]) -> list[str]:
    """Return labels in the order of the outputs: numbers by value, texts by their characters."""
    listed = list(names)
    if all(map(is_number, listed)):
        return sorted(listed, key=int)
    return sorted(listed)


def is_number(name: str) -> bool:
    """Tell whether a label is a whole number in its usual spelling."""
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and str(int(digits[:20])) == digits[:20]


def _is_below(name: str, count: int) -> bool:
    return is_number(name) and len(name) < 10 and 0 <= int(name) < count


def _listed(value: Any) -> Sequence[Any]:
    """Return the labels of a value: a list, a printed one as csv cells have, or a single label."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        printed = decoded(value)
        value = value if printed is None else printed
    return value if isinstance(value, (list, tuple)) else [value]


def _name(label: Any) -> str:
    """Return the name of a label; raise RowError for anything else."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, int) or (isinstance(label, str) and label.strip()):
        name = str(label).strip()
        if len(name) <= LONGEST_NAME:
            return name
        raise RowError(
            LABEL,
            f"label should be a name or a number (got a text of {len(name)} characters)",
            f"label 应为名称或编号（当前为 {len(name)} 个字符的文字）",
        )
    if label is None or isinstance(label, str):
        raise RowError(LABEL, "label is empty", "label 为空")
    got = str(label) if isinstance(label, float) else kind_of(label)
    raise RowError(
        LABEL,
        f"label should be a name or a whole number (got {got}); numbers are predicted with "
        "problem_type: regression",
        f"label 应为名称或整数（当前为 {got}）；预测数值请用 problem_type: regression",
    )


def _number(value: Any) -> float:
    """Return the number to predict; raise RowError for anything else."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    number = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if math.isfinite(number):
        return number
    got = (
        repr(value[:40])
        if isinstance(value, str)
        else kind_of(list(value) if isinstance(value, tuple) else value)
    )
    raise RowError(
        LABEL,
        f"label should be a number (got {printable(got)}): problem_type is regression",
        f"label 应为数字（当前为 {printable(got)}）：problem_type 为 regression",
    )


def _several(count: int) -> RowError:
    if not count:
        return RowError(LABEL, "label is an empty list", "label 是空列表")
    return RowError(
        LABEL,
        f"has {count} labels, where one is expected; any number of them is predicted with "
        "problem_type: multi_label_classification",
        f"有 {count} 个标签，而此处应为一个；多标签请用 problem_type: multi_label_classification",
    )


def _repeated(labels: Sequence[str]) -> RowError:
    listed = listed_names(labels)
    if all(label in FLAGS for label in labels):
        return RowError(
            LABEL,
            f"label has {len(labels)} values of 0 and 1 ({listed}): num_labels or label_names "
            "should say how many labels there are",
            f"label 有 {len(labels)} 个 0 或 1（{listed}）：请用 num_labels 或 label_names "
            "说明标签数量",
        )
    return RowError(LABEL, f"label repeats a label: {listed}", f"label 中有重复的标签：{listed}")


def _two_readings(labels: Sequence[str]) -> RowError:
    listed = ", ".join(labels)
    return RowError(
        LABEL,
        f"label [{listed}] may mean both labels, or 0 and 1 for each: write the names of the "
        "labels that the row has",
        f"label [{listed}] 可能指两个标签都有，也可能逐个表示有无：请写出该行所具有的标签名称",
    )


def _beyond(name: str, count: int) -> RowError:
    return RowError(
        LABEL,
        f"label should be from 0 to {count - 1}, as num_labels: {count} says (got {name})",
        f"按 num_labels: {count}，label 应为 0 到 {count - 1}（当前为 {name}）",
    )


def _unknown(name: str, names: Sequence[str]) -> RowError:
    shown, listed = printable(name[:40]), listed_names(names)
    end = suggestion_ending(nearest(name, names))
    return RowError(
        LABEL,
        f"label {shown} is not in label_names: {listed}{end}",
        f"label {shown} 不在 label_names 中：{listed}{end}",
    )


def listed_names(names: Sequence[str]) -> str:
    """Return labels as a message lists them: the first of many, and their number."""
    listed = ", ".join(printable(name[:40]) for name in names[:MOST_SHOWN])
    more = len(names) - MOST_SHOWN
    return listed + (f", ... (+{more})" if more > 0 else "")


def _other_number(names: Sequence[str], count: int, *, named: bool) -> DataError:
    listed = listed_names(names)
    if named:
        return DataError(
            text(
                f"num_labels: {count}, but label_names has {len(names)}: {listed}",
                f"num_labels 为 {count}，而 label_names 有 {len(names)} 个：{listed}",
            ),
            hint=text("remove num_labels", "去掉 num_labels"),
        )
    return DataError(
        text(
            f"num_labels: {count}, but the rows have {counted(len(names), 'label')}: {listed}",
            f"num_labels 为 {count}，而数据中有 {len(names)} 个标签：{listed}",
        ),
        hint=text(
            "list all labels in label_names, or remove num_labels",
            "请在 label_names 中列出全部标签，或去掉 num_labels",
        ),
    )


def _only(names: Sequence[str]) -> DataError:
    listed = listed_names(names) or "-"
    return DataError(
        text(
            f"label: a classifier needs two labels or more; all rows have {listed}",
            f"label：分类至少需要两个标签；所有行都是 {listed}",
        ),
        hint=text(
            "give rows of every label; a number is predicted with problem_type: regression",
            "请给出每个标签的数据；预测数值请用 problem_type: regression",
        ),
    )
