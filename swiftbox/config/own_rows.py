"""Which rows of the user an evaluation measures, and how answers to them are scored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import DatasetSource, Frozen, source_in_a_list
from swiftbox.language import text

HELD_OUT, NONE = "held_out", "none"
"""Values of `test_dataset` that name no file; a file of that name is written with ./ before it."""

ROW_WORDS = (HELD_OUT, NONE)

Metric = Literal["loss", "exact_match", "rouge_l", "bleu", "chrf", "win_rate"]

METRICS: tuple[Metric, ...] = ("loss", "exact_match", "rouge_l", "bleu", "chrf", "win_rate")

TEXT_METRICS = ("exact_match", "rouge_l", "bleu", "chrf")
"""Metrics that compare an answer with the answer of the row."""


class OwnRowFields(Frozen):
    """The user's own rows: which, and what is measured on them."""

    test_dataset: str | list[str | DatasetSource] | None = setting(
        None,
        label_zh="自有测试数据",
        en="your own rows, named as dataset of a training; held_out: the rows that the training "
        "of this model held out; empty: held_out if there are any; none: benchmarks only",
        zh="自有数据，写法同训练的 dataset；held_out：该模型训练时留出的数据；"
        "留空：有留出数据时用 held_out；none：只测基准",
        section="data",
        essential=True,
        min_length=1,
    )
    metrics: str | list[Metric] | None = setting(
        None,
        label_zh="自有数据指标",
        en="on your own rows: loss, exact_match, rouge_l, bleu, chrf, win_rate (needs a judge), or "
        "a list; empty: all that fit",
        zh="自有数据上的指标：loss、exact_match、rouge_l、bleu、chrf、win_rate（需评审模型）"
        "或其列表；留空：全部适用的",
        section="data",
        min_length=1,
    )
    columns: dict[str, str] = setting(
        {},
        label_zh="列改名",
        en="what the columns of the file are, such as {Question: query, Answer: response}; "
        "unused leaves a column out",
        zh="文件中各列的含义，例如 {Question: query, Answer: response}；unused 表示忽略该列",
        section="data",
    )
    max_length: int | None = setting(
        None,
        label_zh="最大长度",
        en="longest row of test_dataset in tokens; empty: that of the training, or 2048",
        zh="test_dataset 单行最大 token 数；留空则同训练，或 2048",
        section="data",
        ge=8,
        limit=10_000_000,
    )
    judge_max_tokens: int = setting(
        1024,
        label_zh="评审最大长度",
        en="maximum length of a verdict of the judge in tokens, with its reasoning",
        zh="评审模型每次裁决（含推理）的最大 token 数",
        section="run",
        ge=16,
        limit=1_000_000,
    )

    @field_validator("test_dataset", mode="before")
    @classmethod
    def _in_a_list(cls, value: Any) -> Any:
        return source_in_a_list(value)

    @field_validator("metrics", mode="before")
    @classmethod
    def _known_metrics(cls, value: Any) -> Any:
        if value is None:
            return value
        named = value.split(",") if isinstance(value, str) else value
        names = [str(name).strip() for name in named] if isinstance(named, list) else []
        if not names or any(name not in METRICS for name in names):
            listed = ", ".join(METRICS)
            raise ValueError(text(f"should be among {listed}", f"应取自 {listed}"))
        return list(dict.fromkeys(names))

    @property
    def names_rows(self) -> bool:
        """Tell whether `test_dataset` names files or ids."""
        return self.test_dataset not in (None, *ROW_WORDS)
