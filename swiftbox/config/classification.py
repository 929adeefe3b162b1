"""What a classifier predicts, and how it reads texts."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.language import text

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
"""Names of transformers' `problem_type`."""

SINGLE: Problem = "single_label_classification"
MULTI: Problem = "multi_label_classification"
REGRESSION: Problem = "regression"


class ClassificationFields(Frozen):
    """The labels of a classifier, and whether texts are rendered by the chat template."""

    problem_type: Problem | None = setting(
        None,
        label_zh="问题类型",
        en="single_label_classification: one label per row; multi_label_classification: any "
        "number; regression: a number; empty: regression with num_labels: 1, else one label",
        zh="single_label_classification：每行一个标签；multi_label_classification：任意个；"
        "regression：一个数值；留空：num_labels 为 1 时为回归，否则为单标签",
        section="method",
    )
    num_labels: int | None = setting(
        None,
        label_zh="标签数量",
        en="number of labels; empty: those of label_names, else of the rows",
        zh="标签数量；留空：取 label_names 的数量，否则取数据中的数量",
        section="method",
        ge=1,
        limit=100_000,
    )
    label_names: list[str] | None = setting(
        None,
        label_zh="标签名称",
        en="labels in the order of the model's outputs; empty: those of the rows, numbers by "
        "value, texts by their letters",
        zh="按模型输出顺序排列的标签；留空：取自数据，数字按大小、文字按字符排序",
        section="method",
        min_length=1,
    )
    use_chat_template: bool | None = setting(
        None,
        label_zh="使用对话模板",
        en="render rows with the chat template; empty: conversations only, texts as they are",
        zh="是否用对话模板渲染；留空：只渲染对话，文字保持原样",
        section="data",
    )

    @field_validator("label_names")
    @classmethod
    def _different_names(cls, value: list[str] | None) -> list[str] | None:
        names = [name.strip() for name in value or ()]
        for name in names:
            if not name or names.count(name) > 1:
                raise ValueError(
                    text(
                        f"labels should differ (two are {name!r})" if name else "a label is empty",
                        f"标签名称不能重复（{name!r}）" if name else "有标签没有名称",
                    )
                )
        return names or None

    @property
    def problem(self) -> Problem:
        """Return what is predicted, with the default of an empty problem_type."""
        if self.problem_type is not None:
            return self.problem_type
        return REGRESSION if self.num_labels == 1 else SINGLE
