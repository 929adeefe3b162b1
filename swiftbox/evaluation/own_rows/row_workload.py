"""How much own rows ask: rows, answers, tokens, requests to the judge, and minutes if known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.own_rows import TEXT_METRICS
from swiftbox.data.lengths import BYTES_PER_TOKEN, Lengths
from swiftbox.evaluation.answer_speed import remembered_speed
from swiftbox.evaluation.own_rows.judge_prompt import INSTRUCTIONS
from swiftbox.formatting import count, counted, duration
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, Remark


@dataclass(frozen=True)
class RowWorkload:
    """The rows of an evaluation, as far as they are known before it."""

    title: str
    rows: int
    lengths: Lengths
    """Of all rows that were read, of which `rows` are measured."""

    @property
    def mean_tokens(self) -> float:
        """Return the estimated tokens of a row."""
        read = self.lengths.good_rows
        return self.lengths.tokens(None) / self.lengths.taken if read and self.lengths.taken else 0


def rows_remark(
    config: EvaluateConfig, workload: RowWorkload, metrics: Sequence[str], models: int
) -> Remark:
    """Describe what is measured on own rows, how much is generated, and how long it takes."""
    rows = counted(workload.rows, "row")
    parts = [
        text(
            f"{workload.title}: {rows}, {counted(models, 'model')}; {', '.join(metrics)}",
            f"{workload.title}：{workload.rows} 行，{models} 个模型；{', '.join(metrics)}",
        )
    ]
    if {*TEXT_METRICS, "win_rate"}.intersection(metrics):
        parts.append(_answers(config, workload.rows * models))
    if "win_rate" in metrics:
        parts.append(_verdicts(config, workload, models))
    return Remark(NOTE, "test_dataset", text("; ", "；").join(parts))


def _answers(config: EvaluateConfig, answers: int) -> str:
    tokens = answers * config.max_tokens
    line = text(
        f"{counted(answers, 'answer')}, at most {tokens:,} generated tokens",
        f"{answers:,} 个回答，最多生成 {tokens:,} 个 token",
    )
    return line + time_line(config, answers)


def time_line(config: EvaluateConfig, answers: int) -> str:
    """Say how long answers take by the speed of an earlier run, or when it will be known."""
    speed = remembered_speed(config)
    if speed is None:
        return text(
            ", the time is known after the first answers", "，所需时间在最初几个回答之后可知"
        )
    about = duration(speed.seconds(answers, config.max_tokens))
    return text(f", about {about} at the speed of an earlier run", f"，按此前运行的速度约 {about}")


def _verdicts(config: EvaluateConfig, workload: RowWorkload, models: int) -> str:
    """Say what the judge is asked at most: both orders of each pair."""
    requests = 2 * workload.rows * (models - 1)
    prompt = len(INSTRUCTIONS["en"].encode()) / BYTES_PER_TOKEN
    answers = 2 * min(float(config.max_tokens), max(workload.mean_tokens, 1.0))
    read = requests * (prompt + workload.mean_tokens + answers)
    return text(
        f"at most {counted(requests, 'request')} to the judge {config.judge_model}, "
        f"about {count(read)} tokens to read and at most "
        f"{requests * config.judge_max_tokens:,} to write",
        f"最多向评审模型 {config.judge_model} 请求 {requests:,} 次，"
        f"读取约 {count(read)} 个 token，最多写 {requests * config.judge_max_tokens:,} 个",
    )
