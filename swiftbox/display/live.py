"""A run as people watch it: a live display in a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from swiftbox.display import deploy as served
from swiftbox.display import download as shown
from swiftbox.display import evaluate as evaluation
from swiftbox.display import pipeline as part_lines
from swiftbox.display import quantize as quantized
from swiftbox.display.pipeline import duration
from swiftbox.language import text

Event = Mapping[str, Any]

SECONDS_BETWEEN_LINES = 5.0
"""Plain step lines are for logs and slow links: one each few seconds is enough."""

TRACEBACK_LINES = 15
BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*#@"


class View:
    """Shows the events it is given; a context manager, since a live display must be closed."""

    def __init__(self, *, plain: bool = False, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.stage = ""
        self.step: Event = {}
        self.start: Event = {}
        self.progress: Event = {}
        self.saved = ""
        self.last_line = 0.0
        self.live: Any = None
        dumb = os.environ.get("TERM", "") in ("", "dumb")
        self.plain = plain or dumb or not self.stream.isatty()

    def __enter__(self) -> View:
        return self

    def _begin(self) -> None:
        """Open the live display; only with the first event, since a run may ask things before."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream)
        self.live = Live(console=console, auto_refresh=False, transient=False)
        self.live.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self.live.stop()
            self.live = None

    def event(self, event: Event) -> None:
        """Take one event of a run."""
        if self.live is None and not self.plain:
            self._begin()
        kind = event.get("event")
        if kind == "inner":
            self.event(event["inner"])
            return
        if kind == "part":
            self._begin_part()
        if kind == "step":
            self._step(event)
            return
        if kind == "progress":
            self._progress(event)
            return
        if kind == "answers":
            self._answers(evaluation.answers_line(event))
            return
        if kind == "stage":
            self.stage = stage_title(event)
            self.progress = {}
        elif kind in ("fetched", "missed"):
            self.progress = {}
        elif kind == "start":
            self.start = event
        elif kind == "checkpoint":
            self.saved = f"checkpoint-{event['step']}"
        for line in lines_of(event):
            self._line(line)
        self._refresh()

    def _begin_part(self) -> None:
        """Forget what was shown of the step before."""
        self.losses, self.rates, self.saved, self.stage = [], [], "", ""
        self.step, self.start, self.progress = {}, {}, {}

    def _step(self, event: Event) -> None:
        self.step = event
        self.losses.append(float(event["loss"]))
        self.rates.append(float(event.get("learning_rate") or 0.0))
        if self.live is not None:
            self._refresh()
            return
        last = event["step"] == event["total_steps"]
        now = time.monotonic()
        if last or now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._line(step_line(event))

    def _progress(self, event: Event) -> None:
        self.progress = event
        if self.live is not None:
            self._refresh()
            return
        self._now_and_then(shown.progress_line(event))

    def _answers(self, line: str) -> None:
        self.stage = line.strip()
        if self.live is not None:
            self._refresh()
        else:
            self._now_and_then(line)

    def _now_and_then(self, line: str) -> None:
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._line(line)

    def _line(self, line: str) -> None:
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False)
        else:
            self.stream.write(line + "\n")
            self.stream.flush()

    def _refresh(self) -> None:
        if self.live is not None:
            self.live.update(self.panel(self.live.console.width), refresh=True)

    def panel(self, width: int) -> Any:
        """Return what the live display shows, for a terminal of that width."""
        from rich.console import Group
        from rich.text import Text

        encoding = (getattr(self.stream, "encoding", "") or "").lower()
        bars = BARS if "utf" in encoding else ASCII_BARS
        if self.progress:
            return shown.panel(self.progress, width, unicode=bars is BARS)
        if not self.step:
            return Text(f"{self.stage} …" if self.stage else "…")
        step = self.step
        spark = max(8, min(30, width - 50))
        bar = progress_bar(step["step"] / step["total_steps"], width - 2, bars is BARS)
        head = f"{self.stage}  {step['step']}/{step['total_steps']}  " + text(
            f"epoch {step['epoch']:.2f}  {duration(step['eta_s'])} left",
            f"第 {step['epoch']:.2f} 轮  剩余 {duration(step['eta_s'])}",
        )
        rows = [
            (text("loss", "损失"), f"{step['loss']:.4f}", sparkline(self.losses, spark, bars)),
            *(
                (words.rpartition(" ")[0], words.rpartition(" ")[2], "")
                for words in watched_of(step)
            ),
            (
                text("learning rate", "学习率"),
                f"{self.rates[-1]:.2e}",
                sparkline(self.rates, spark, bars),
            ),
            (
                text("speed", "速度"),
                f"{step['tokens_per_s']:,.0f}",
                text("tokens/s", "token/秒") + f"   {gibibytes(step['memory_bytes'])}",
            ),
            (
                text("saved", "已保存"),
                self.saved or "-",
                text("gradient norm", "梯度范数") + f" {step.get('grad_norm') or 0:.2f}",
            ),
        ]
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="crop")
        for row in rows:
            table.add_row(*row)
        return Group(Text(head, no_wrap=True, overflow="crop"), Text(bar), table)


def stage_title(event: Event) -> str:
    """Name a stage of the run for people."""
    titles = {
        "fetch": ("fetching", "获取"),
        "data": ("reading the data", "读取数据"),
        "model": ("loading the model", "加载模型"),
        "reference": ("asking the reference model", "计算参考模型"),
        "train": ("training", "训练"),
        "save": ("saving the model", "保存模型"),
        "corpus": ("reading the standard library's docstrings", "读取标准库文档"),
        "starter": ("making the tokenizer and a random model", "制作分词器与随机初始化的模型"),
        "merge": ("merging", "合并"),
        "parity": ("holding it against its training", "与训练核对"),
        "verify": ("checking what was written", "核对写出的模型"),
        "measure": ("measuring perplexity", "测量困惑度"),
        "quantize": ("quantizing", "量化"),
    }
    name = str(event.get("name"))
    return text(*titles[name]) if name in titles else name


def lines_of(event: Event) -> list[str]:
    """Return the lines that an event adds for good, in the live view and in the plain one."""
    told = part_lines.lines_of(event)
    if told is not None:
        return told
    kind = event.get("event")
    if kind == "stage":
        detail = event.get("detail")
        return [f"> {stage_title(event)}{f': {detail}' if detail else ''}"]
    if kind in ("note", "warning"):
        mark = "!" if kind == "warning" else " "
        return [f"{mark} {event['message']}"]
    if kind == "data":
        return [f"  {line}" for line in lengths(event)]
    if kind == "eval":
        loss = text("held-out loss", "留出集损失")
        line = f"  {text('step', '步')} {event['step']}  {loss} {event['loss']:.4f}"
        return ["  ".join([line, *watched_of(event)])]
    if kind == "checkpoint":
        return [text(f"  saved checkpoint-{event['step']}", f"  已保存 checkpoint-{event['step']}")]
    if kind in ("fetched", "missed") or (kind == "done" and "fetched" in event):
        return shown.lines_of(event)
    if kind in evaluation.KINDS:
        return evaluation.lines_of(event)
    if kind in ("serving", "parity") or "answers" in event:
        return served.lines_of(event)
    if kind in ("quantizing", "quantized"):
        return quantized.lines_of(event)
    if kind == "done":
        return _done(event)
    if kind == "stopped":
        return _stopped(event)
    return _failed(event) if kind == "failed" else []


def _done(event: Event) -> list[str]:
    took = duration(event["seconds"])
    if "report" in event:
        return [text(f"done in {took}", f"完成，用时 {took}"), *evaluation.done(event)]
    made = text(f"model: {event['model']}", f"模型：{event['model']}")
    if "steps" not in event:
        return [text(f"done in {took}", f"完成，用时 {took}"), made]
    return [
        text(
            f"done: {event['steps']} steps in {took}, mean loss {event['loss']:.4f}",
            f"完成：{event['steps']} 步，用时 {took}，平均损失 {event['loss']:.4f}",
        ),
        made,
    ]


def _stopped(event: Event) -> list[str]:
    if "scored" in event:
        return evaluation.stopped(event)
    if "url" in event:
        took = duration(event["seconds"])
        return [text(f"served for {took}, and stopped", f"已服务 {took}，现已停止")]
    if event.get("step") is None:
        return [
            text(
                "stopped before the first step; `swiftbox runs resume` goes on, downloads included",
                "在第一步之前停止；`swiftbox runs resume` 可继续，包括下载",
            )
        ]
    return [
        text(
            f"stopped at step {event['step']}; `swiftbox runs resume` continues",
            f"在第 {event['step']} 步停止；`swiftbox runs resume` 可继续",
        )
    ]


def _failed(event: Event) -> list[str]:
    trace = str(event.get("traceback") or "").rstrip().splitlines()
    lines = trace[-TRACEBACK_LINES:]
    if len(trace) > TRACEBACK_LINES:
        more = len(trace) - TRACEBACK_LINES
        skipped = text(f"  ... {more} further lines in log.txt", f"  …… 另有 {more} 行见 log.txt")
        lines = [trace[0], skipped, *lines]
    lines += [
        f"error: {line}" if not at else line
        for at, line in enumerate(str(event["message"]).splitlines())
    ]
    if event.get("hint"):
        lines.append(f"hint: {event['hint']}")
    return lines


def lengths(data: Mapping[str, Any]) -> list[str]:
    """Return lines on how long the rows are and what max_length does to them."""
    listed = ", ".join(f"{name} {value}" for name, value in data["percentiles"].items())
    lines = [
        text(f"tokens per row: {listed}", f"每行 token 数：{listed}"),
        text(
            f"{data['rows']} rows to train on, {data['held_out']} held out; "
            f"{data['trained_tokens']:,} of {data['tokens']:,} tokens are learned",
            f"训练 {data['rows']} 行，留出 {data['held_out']} 行；"
            f"{data['tokens']:,} 个 token 中学习 {data['trained_tokens']:,} 个",
        ),
    ]
    if data.get("preferences"):
        from swiftbox.data.report import lines as lines_on_preferences

        lines += lines_on_preferences(data["preferences"])
    changes = {
        "cut": text("cut", "截断"),
        "dropped": text("dropped as too long", "因过长丢弃"),
        "nothing_to_learn": text("left out: nothing to learn in them", "无可学习内容而略去"),
        "bad": text("bad rows skipped", "跳过的坏行"),
    }
    lines += [
        f"max_length {data['max_length']}: {data[key]} {words}"
        for key, words in changes.items()
        if data[key]
    ]
    return lines


def step_line(event: Event) -> str:
    """Return one plain line of a step."""
    watched = "".join(f"{words}  " for words in watched_of(event))
    return text(
        f"  step {event['step']}/{event['total_steps']}  loss {event['loss']:.4f}  {watched}"
        f"{event['tokens_per_s']:,.0f} tokens/s  {duration(event['eta_s'])} left",
        f"  第 {event['step']}/{event['total_steps']} 步  损失 {event['loss']:.4f}  {watched}"
        f"{event['tokens_per_s']:,.0f} token/秒  剩余 {duration(event['eta_s'])}",
    )


def watched_of(event: Event) -> list[str]:
    """Return what a method of preference or reward watches, in words."""
    metrics = event.get("metrics") or {}
    names = {
        "rewards/accuracies": text("right", "正确率"),
        "rewards/margins": text("margin", "差距"),
        "rewards/desirable": text("good", "好"),
        "rewards/undesirable": text("bad", "坏"),
        "reward": text("reward", "奖励"),
    }
    return [f"{words} {metrics[name]:.2f}" for name, words in names.items() if name in metrics]


def progress_bar(share: float, width: int, unicode: bool) -> str:
    """Draw the share that is done as a line of that width."""
    full = round(share * width)
    done, left = ("━", "─") if unicode else ("#", ".")
    return done * full + left * (width - full)


def sparkline(values: list[float], width: int, bars: str = BARS) -> str:
    """Draw numbers as one line of bars, the newest at the right."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [
        sum(part) / len(part)
        for at in range(0, len(values), size)
        if (part := values[at : at + size])
    ]
    low, high = min(means), max(means)
    spread = (high - low) or 1.0
    return "".join(bars[round((one - low) / spread * (len(bars) - 1))] for one in means)


def gibibytes(count: int) -> str:
    """Write a number of bytes in GiB."""
    return f"{count / 2**30:.2f} GiB"
