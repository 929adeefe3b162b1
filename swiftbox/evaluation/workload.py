"""How much an evaluation asks: questions and tokens before it starts, rate and time left during."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.errors import DataError
from swiftbox.evaluation import local_data
from swiftbox.evaluation.answer_speed import remembered_speed
from swiftbox.evaluation.benchmarks import SelectedBenchmark
from swiftbox.formatting import counted, duration
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, Remark

WINDOW = 30
"""Counts that the rate is measured over: an early rate holds the tool's start."""


def question_count(benchmark: SelectedBenchmark, limit: int | None) -> int | None:
    """Return how many questions a benchmark has; None if unknown."""
    if benchmark.folder is None:
        return benchmark.row.samples if limit is None else None
    try:
        return len(local_data.questions(benchmark.folder, limit))
    except DataError:
        return None


def workload_remark(config: EvaluateConfig, benchmarks: Sequence[SelectedBenchmark]) -> Remark:
    """Describe the questions of an evaluation, and the most tokens that its answers have."""
    return Remark(NOTE, "benchmarks", _line(config, benchmarks, _number_of_models(config)))


def _number_of_models(config: EvaluateConfig) -> int | None:
    """Return how many models answer; None where an endpoint lists them only later."""
    if config.endpoint is not None:
        return len(config.endpoint_models) if config.endpoint_models else None
    return 1 + len(as_list(config.adapter or [])) + len(config.compare or [])


def _line(
    config: EvaluateConfig, benchmarks: Sequence[SelectedBenchmark], models: int | None
) -> str:
    counts = {item.name: question_count(item, config.limit) for item in benchmarks}
    unknown = text("unknown before the start", "开始前未知")
    parts = [
        f"{name} {unknown if count is None else f'{count:,}'}" for name, count in counts.items()
    ]
    total = sum(count or 0 for count in counts.values()) * (models or 1)
    is_known = models is not None and None not in counts.values()
    per_model = text("for each model", "每个模型")
    listed = text(f"questions {per_model}: ", f"{per_model}的题数：") + text(", ", "，").join(parts)
    if not is_known:
        return listed
    in_all = text(
        f"; {counted(models or 1, 'model')}, {total:,} in all",
        f"；{models} 个模型，共 {total:,} 题",
    )
    return listed + in_all + _tokens(config, total)


def _tokens(config: EvaluateConfig, questions: int) -> str:
    """Describe the most tokens that answers have; likelihoods generate none."""
    if config.backend == "lm_eval":
        return ""
    tokens = questions * config.max_tokens
    most = text(f", at most {tokens:,} generated tokens", f"，最多生成 {tokens:,} 个 token")
    shown_later = text("; the time left is shown while it runs", "；运行时显示剩余时间")
    return most + (_longest_time(config, tokens) or shown_later)


def _longest_time(config: EvaluateConfig, tokens: int) -> str:
    """Say how long the most tokens take by the speed of an earlier run; empty without one."""
    speed = remembered_speed(config)
    if speed is None:
        return ""
    longest = duration(tokens / speed.tokens_per_s)
    return text(
        f", which take at most about {longest} at the speed of an earlier run",
        f"，按此前运行的速度最多约 {longest}",
    )


@dataclass
class AnswerRate:
    """The rate of answers of one benchmark, from counts and the times when they were read."""

    counts: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(self, time_s: float, count: int) -> None:
        """Add a count; the first one is what an interrupted run has already answered."""
        self.counts.append((time_s, count))
        if len(self.counts) > 2 and self.counts[0][1] == self.counts[1][1]:
            self.counts.popleft()

    def per_s(self) -> float | None:
        """Return the answers per second; None before the second count."""
        (begin, before), (end, after) = self.counts[0], self.counts[-1]
        return (after - before) / (end - begin) if end > begin and after > before else None

    def eta_s(self, total: int | None) -> float | None:
        """Return the seconds left; None where the rate or the number of questions is unknown."""
        rate = self.per_s()
        if rate is None or total is None:
            return None
        return max(0, total - self.counts[-1][1]) / rate
