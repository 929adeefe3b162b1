"""The benchmarks that a picker offers: the included samples, then the popular ones, then all."""

from __future__ import annotations

from functools import cached_property

from swiftbox.evaluation.benchmarks import SAMPLES
from swiftbox.language import text
from swiftbox.menu.options.option import ALL, Option, TableColumns, matches
from swiftbox.models import catalogue
from swiftbox.models.catalogue import Benchmark
from swiftbox.models.description import searchable, term, terms

POPULAR = ("ceval", "mmlu", "cmmlu", "gsm8k", "ifeval", "arc", "hellaswag", "humaneval")
"""Benchmarks that are asked for most: listed first."""

LANGUAGE = "llm"
CATEGORIES = (LANGUAGE, "vlm", "agent", "aigc")


class BenchmarkOptions:
    """The benchmarks to choose from."""

    @cached_property
    def columns(self) -> TableColumns:
        """The columns of the list."""
        titles = (
            text("benchmark", "评测集"),
            text("task", "任务类型"),
            text("rows", "题数"),
            text("about", "内容"),
        )
        return TableColumns(titles, (26, 21, 6, 20), right=(2,))

    @cached_property
    def _rows(self) -> dict[str, Benchmark]:
        rows = {benchmark.name: benchmark for benchmark in catalogue.benchmarks()}
        popular = [name for name in POPULAR if name in rows]
        return {name: rows[name] for name in dict.fromkeys([*popular, *rows])}

    @cached_property
    def local(self) -> list[Option]:
        """All benchmarks: each row has columns."""
        return [Option(name, name) for name in (*SAMPLES, *self._rows)]

    def views(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        titles = (
            text("language", "语言"),
            text("images", "视觉"),
            text("agents", "智能体"),
            text("generation", "生成"),
        )
        return [(ALL, text("all", "全部")), *zip(CATEGORIES, titles, strict=True)]

    def find(self, query: str, view: str, family: str = "") -> list[Option]:  # noqa: ARG002 - models have families
        """Return the benchmarks that match."""
        return [
            option
            for option in self.local
            if self._is_in_view(option.value, view)
            and matches(query, option.name, self._searched(option.value))
        ]

    def _is_in_view(self, name: str, view: str) -> bool:
        row = self._rows.get(name)
        return view in (ALL, LANGUAGE if row is None else row.category)

    def _searched(self, name: str) -> str:
        row = self._rows.get(name)
        return "" if row is None else searchable(row.title or "", row.task_type or "", *row.tags)

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""
        row = self._rows.get(option.value)
        if row is None:
            sample = text("sample, offline", "样例，离线")
            return (option.name, sample, "", SAMPLES[option.value])
        count = f"{row.samples}" if row.samples else ""
        return (option.name, term(row.task_type or ""), count, terms(row.tags))

    def details(self, option: Option) -> list[str]:
        """Return lines on a benchmark."""
        row = self._rows.get(option.value)
        if row is not None:
            return _details(row)
        if option.value not in SAMPLES:
            return []
        return [text("a small sample set, to try an evaluation", "自带的小样本集，供试用评测")]


def _details(row: Benchmark) -> list[str]:
    shots = text(f"{row.few_shot or 0}-shot", f"{row.few_shot or 0} 个示例")
    metrics = ", ".join(row.metrics)
    name, dataset = row.title or row.name, row.dataset_id or "?"
    lines = [
        text(f"{name}: {dataset}; {shots}; {metrics}", f"{name}：{dataset}；{shots}；{metrics}")
    ]
    if row.sandbox:
        lines.append(
            text(
                "runs code written by the model: needs a sandbox",
                "会执行模型生成的代码：需要沙箱",
            )
        )
    return lines
