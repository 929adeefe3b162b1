"""Progress display of a training: the data, each step, checkpoints, and a panel of curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.display.common import TaskDisplay, model_line, stopped_early_lines, title_of
from swiftbox.formatting import bar, clock, counted, duration, size
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event

SPARKS = "▁▂▃▄▅▆▇█"
ASCII_SPARKS = "_.-=+*#@"
LEAST_SPARKS, MOST_SPARKS = 8, 30
TEXT_CELLS = 50
"""Cells of a row of the panel without its curve."""

METRICS: Mapping[str, tuple[str, str]] = {
    "rewards/accuracies": ("accuracy", "正确率"),
    "rewards/margins": ("margin", "差距"),
    "rewards/desirable": ("desirable", "好"),
    "rewards/undesirable": ("undesirable", "坏"),
    "reward": ("reward", "奖励"),
    "accuracy": ("accuracy", "正确率"),
    "macro_f1": ("macro F1", "宏平均 F1"),
    "micro_f1": ("micro F1", "微平均 F1"),
    "mse": ("MSE", "均方误差"),
    "pearson": ("Pearson", "皮尔逊相关"),
}
"""English and Chinese name of the metrics that methods of preference or reward report."""


def metrics_of(event: Event) -> list[tuple[str, str]]:
    """Return name and value of the metrics that a method reports."""
    metrics = event.get("metrics") or {}
    return [
        (text(*names), f"{metrics[key]:.2f}")
        for key, names in METRICS.items()
        if isinstance(metrics.get(key), int | float)  # null: it was not finite
    ]


def data_lines(event: Event) -> list[str]:
    """Return the lengths of the rows, and how many max_length affects."""
    separator = text(", ", "，")
    percentiles = separator.join(f"{name} {value}" for name, value in event["percentiles"].items())
    listed = ", ".join(event.get("held_out_from") or ())
    names = text(f" ({listed})", f"（{listed}）") if listed else ""
    lines = [
        text(f"tokens per row: {percentiles}", f"每行 token 数：{percentiles}"),
        text(
            f"{event['rows']} training rows, {event['held_out']} held out{names}; ",
            f"训练 {event['rows']} 行，留出 {event['held_out']} 行{names}；",
        )
        + _tokens(event),
    ]
    if turns := event.get("turns"):
        lines.append(_turns_line(turns))
    lines += _report_lines(event)
    held_out = event.get("held_out_report") or {}
    lines += [text("held out: ", "验证：") + line for line in _report_lines(held_out)]
    if preferences := event.get("preferences"):
        from swiftbox.data.report import lines as preference_lines

        lines += preference_lines(preferences)
    return lines + _skipped_rows(event)


def _tokens(event: Event) -> str:
    """Return how many tokens there are and are learned, if not whole rows are learned."""
    if not event["trained_tokens"]:
        return text(f"{event['tokens']:,} tokens", f"{event['tokens']:,} 个 token")
    return text(
        f"{event['trained_tokens']:,} of {event['tokens']:,} tokens are learned",
        f"{event['tokens']:,} 个 token 中学习 {event['trained_tokens']:,} 个",
    )


def _report_lines(report: Mapping[str, Any]) -> list[str]:
    """Name the columns that nobody read, and what the chat template did to the rows."""
    lines: list[str] = []
    if unused := report.get("unused"):
        from swiftbox.data.findings import unused_lines

        lines += unused_lines(unused)
    if account := report.get("account"):
        from swiftbox.templates.account import Account

        lines += Account.of(account).lines()
    return lines


def _turns_line(turns: Mapping[str, int]) -> str:
    conversations = counted(turns["conversations"], "conversation")
    return text(
        f"{conversations} with a row for each learned turn: {turns['rows']:,} rows of "
        f"{turns['tokens']:,} tokens, {turns['computed']:,} where what they share is computed once",
        f"{turns['conversations']} 个对话的每个学习轮各成一行：共 {turns['rows']:,} 行 "
        f"{turns['tokens']:,} 个 token，公共前文只计算一次时为 {turns['computed']:,} 个",
    )


def _skipped_rows(event: Event) -> list[str]:
    """Return a line for each kind of row that is truncated, dropped or skipped."""
    limit, cut, dropped = event["max_length"], event["cut"], event["dropped"]
    empty, bad, ends = event["nothing_to_learn"], event["bad"], event.get("cut_rows") or 0
    limit_name = text(f"max_length {limit}: ", f"max_length {limit}：")
    lines = [
        (cut, limit_name + text(f"{counted(cut, 'row')} truncated", f"截断 {cut} 行")),
        (
            dropped,
            limit_name
            + text(f"{counted(dropped, 'longer row')} dropped", f"丢弃过长的 {dropped} 行"),
        ),
        (
            empty,
            text(
                f"{counted(empty, 'row')} skipped: no token to learn",
                f"略去无可学习内容的 {empty} 行",
            ),
        ),
        (bad, text(f"{counted(bad, 'bad row')} skipped", f"跳过 {bad} 个坏行")),
        (
            ends,
            text(
                f"{counted(ends, 'row')} cut off after the last answer",
                f"{ends} 行在最后的回答之后截断",
            ),
        ),
    ]
    return [line for count, line in lines if count]


def _data(event: Event) -> list[str]:
    return [f"  {line}" for line in data_lines(event)]


def step_line(event: Event) -> str:
    """Return one plain line of a step."""
    metrics = "".join(f"{name} {value}  " for name, value in metrics_of(event))
    remaining = clock(event["eta_s"])
    return text(
        f"  step {event['step']}/{event['total_steps']}  loss {event['loss']:.4f}  {metrics}"
        f"{event['tokens_per_s']:,.0f} tokens/s  {remaining} left",
        f"  第 {event['step']}/{event['total_steps']} 步  损失 {event['loss']:.4f}  {metrics}"
        f"{event['tokens_per_s']:,.0f} token/秒  剩余 {remaining}",
    )


def evaluation_lines(event: Event) -> list[str]:
    """Return the loss on the held-out set."""
    head = text(
        f"  step {event['step']}  held-out loss {event['loss']:.4f}",
        f"  第 {event['step']} 步  留出集损失 {event['loss']:.4f}",
    )
    best = [text("best so far", "目前最好")] if event.get("best") else []
    return ["  ".join([head, *(f"{name} {value}" for name, value in metrics_of(event)), *best])]


def checkpoint_lines(event: Event) -> list[str]:
    """Return the line of a complete checkpoint."""
    return [text(f"  saved checkpoint-{event['step']}", f"  已保存 checkpoint-{event['step']}")]


def smaller_batch_lines(event: Event) -> list[str]:
    """Return that the memory ran out, and in which batches the training continues."""
    before, units, accumulation = event["units_before"], event["units"], event["accumulation"]
    return [
        text(
            f"! out of memory at step {event['step']} with {counted(event['tokens'], 'token')}; "
            f"the step is repeated with per_device_train_batch_size {before} -> {units} and "
            f"gradient_accumulation_steps {accumulation}: the same rows per update",
            f"! 第 {event['step']} 步内存不足（{event['tokens']:,} 个 token）；"
            f"改用 per_device_train_batch_size {before} -> {units}、"
            f"gradient_accumulation_steps {accumulation} 重算该步，每次更新的总行数不变",
        )
    ]


def first_step_lines(event: Event) -> list[str]:
    """Return the time to the first step, and the phases that took most of it."""
    longest = sorted(event["phases"].items(), key=lambda phase: -phase[1])[:3]
    separator = text(", ", "，")
    listed = separator.join(f"{title_of(name)} {duration(seconds)}" for name, seconds in longest)
    took = duration(event["seconds"])
    return [text(f"  first step after {took} ({listed})", f"  首步用时 {took}（{listed}）")]


def done_lines(event: Event) -> list[str]:
    """Return the steps, the time, the mean loss and the folder of the model."""
    took = duration(event["seconds"])
    return [
        text(
            f"done: {counted(event['steps'], 'step')} in {took}, mean loss {event['loss']:.4f}",
            f"完成：{event['steps']} 步，用时 {took}，平均损失 {event['loss']:.4f}",
        ),
        *_best_line(event),
        model_line(event),
    ]


def _best_line(event: Event) -> list[str]:
    step, metric, best = (event.get(key) for key in ("best_step", "metric", "best"))
    if not isinstance(best, int | float):
        return []
    count = event.get("evaluations")  # older runs do not have it
    number = f" of {counted(count, 'evaluation')}" if count else ""
    times = f"{count} 次评估中" if count else ""
    return [
        text(
            f"the result is checkpoint-{step}, the best{number}: {metric} {best:.4f}",
            f"结果取 checkpoint-{step}，{times}最好：{metric} {best:.4f}",
        )
    ]


def stopped_lines(event: Event) -> list[str]:
    """Return the step at which a training stopped."""
    if event["step"] is None:
        return stopped_early_lines(event)
    return [
        text(
            f"stopped at step {event['step']}; `swiftbox runs resume` continues",
            f"在第 {event['step']} 步停止；`swiftbox runs resume` 可继续",
        )
    ]


@dataclass
class TrainingPanel:
    """The curves and figures of a training, updated by its events."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    last_step: Event | None = None
    checkpoint: str = ""

    def update(self, event: Event) -> None:
        """Update the panel with a step or a checkpoint."""
        if event["event"] == events.CHECKPOINT:
            self.checkpoint = f"checkpoint-{event['step']}"
        elif event["event"] == events.STEP:
            self.last_step = event
            self.losses.append(float(event["loss"]))
            self.rates.append(float(event.get("learning_rate") or 0.0))

    def render(self, step: Event, phase: str, columns: int, *, unicode: bool) -> Any:
        """Return the panel after a step, for a terminal of that width."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="crop")
        for row in self._rows(step, columns, SPARKS if unicode else ASCII_SPARKS):
            table.add_row(*row)
        remaining = clock(step["eta_s"])
        head = f"{phase}  {step['step']}/{step['total_steps']}  " + text(
            f"epoch {step['epoch']:.2f}  {remaining} left",
            f"第 {step['epoch']:.2f} 轮  剩余 {remaining}",
        )
        progress = bar(step["step"], step["total_steps"], columns - 2, unicode=unicode)
        return Group(Text(head, no_wrap=True, overflow="crop"), Text(progress), table)

    def _rows(self, step: Event, columns: int, sparks: str) -> list[tuple[str, str, str]]:
        cells = max(LEAST_SPARKS, min(MOST_SPARKS, columns - TEXT_CELLS))
        speed = text("tokens/s", "token/秒") + f"   {size(step['memory_bytes'])}"
        norm = text("gradient norm", "梯度范数") + f" {step.get('grad_norm') or 0:.2f}"
        return [
            (text("loss", "损失"), f"{step['loss']:.4f}", sparkline(self.losses, cells, sparks)),
            *((name, value, "") for name, value in metrics_of(step)),
            (
                text("learning rate", "学习率"),
                f"{self.rates[-1]:.2e}",
                sparkline(self.rates, cells, sparks),
            ),
            (text("speed", "速度"), f"{step['tokens_per_s']:,.0f}", speed),
            (text("saved", "已保存"), self.checkpoint or "-", norm),
        ]


def sparkline(values: Sequence[float], cells: int, sparks: str = SPARKS) -> str:
    """Draw numbers as one line of bars, the newest at the right."""
    if not values:
        return ""
    size_of_mean = max(1, -(-len(values) // cells))
    means = [
        sum(values[start : start + size_of_mean]) / len(values[start : start + size_of_mean])
        for start in range(0, len(values), size_of_mean)
    ]
    low, high = min(means), max(means)
    spread = (high - low) or 1.0
    return "".join(sparks[round((mean - low) / spread * (len(sparks) - 1))] for mean in means)


DISPLAY = TaskDisplay(
    {
        events.DATA: _data,
        events.EVAL: evaluation_lines,
        events.CHECKPOINT: checkpoint_lines,
        events.FIRST_STEP: first_step_lines,
        events.SMALLER_BATCH: smaller_batch_lines,
        events.DONE: done_lines,
        events.STOPPED: stopped_lines,
    },
    {events.STEP: step_line},
)
