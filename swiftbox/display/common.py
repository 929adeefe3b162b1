"""Lines of the events that every task may emit: phases, notes, warnings, failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event

Lines = Callable[[Event], list[str]]

TRACEBACK_LINES = 15
"""Longer tracebacks are cut at the start; log.txt has the complete text."""

PHASES: Mapping[str, tuple[str, str]] = {
    "start": ("starting", "启动"),
    "fetch": ("fetching", "获取"),
    "data": ("reading the data", "读取数据"),
    "model": ("loading the model", "加载模型"),
    "teacher": ("loading the teacher", "加载教师模型"),
    "reference": ("computing the reference log-probabilities", "计算参考模型的对数概率"),
    "train": ("training", "训练"),
    "save": ("saving the model", "保存模型"),
    "corpus": ("reading the standard library's docstrings", "读取标准库文档"),
    "starter": ("building the tokenizer and a random model", "制作分词器与随机初始化的模型"),
    "merge": ("merging", "合并"),
    "mix": ("mixing", "混合"),
    "extract": ("computing the factors of the layers", "分解各层的变化"),
    "parity": ("comparing the server with the training", "与训练核对"),
    "verify": ("checking the written model", "核对写出的模型"),
    "measure": ("measuring perplexity", "测量困惑度"),
    "convert": ("converting to GGUF", "转换为 GGUF"),
    "quantize": ("quantizing", "量化"),
    "rows": ("choosing rows", "选取数据"),
    "loss": ("measuring the loss", "测量损失"),
}
"""English and Chinese title of each phase."""


@dataclass(frozen=True)
class TaskDisplay:
    """How the events of one task are shown."""

    lines: Mapping[str, Lines]
    """Permanent lines, by event."""
    status: Mapping[str, Callable[[Event], str]] = field(default_factory=dict)
    """Status lines, by event; in a terminal the next one replaces them."""


def phase_title(event: Event) -> str:
    """Return the title of a phase; a phase without one is shown by its name."""
    return title_of(str(event["name"]))


def title_of(phase: str) -> str:
    """Return the title of a phase by its name."""
    return text(*PHASES[phase]) if phase in PHASES else phase


def phase_lines(event: Event) -> list[str]:
    """Return the line shown when a phase starts."""
    title, detail = phase_title(event), event.get("detail")
    return ["> " + (text(f"{title}: {detail}", f"{title}：{detail}") if detail else title)]


def note_lines(event: Event) -> list[str]:
    """Return the line of a note."""
    return [f"  {event['message']}"]


def warning_lines(event: Event) -> list[str]:
    """Return the line of a warning."""
    return [f"! {event['message']}"]


def done_line(event: Event) -> str:
    """Return the line with the duration of a finished run."""
    took = duration(event["seconds"])
    return text(f"done in {took}", f"完成，用时 {took}")


def model_line(event: Event) -> str:
    """Return the line with the folder of a finished run's model."""
    return text(f"model: {event['model']}", f"模型：{event['model']}")


def model_done_lines(event: Event) -> list[str]:
    """Return the lines of a finished run whose result is a model."""
    return [done_line(event), model_line(event)]


def adapter_done_lines(event: Event) -> list[str]:
    """Return the lines of a finished run whose result is an adapter."""
    adapter = text(f"adapter: {event['adapter']}", f"适配器：{event['adapter']}")
    return [done_line(event), adapter]


def stopped_early_lines(_event: Event) -> list[str]:
    """Return the line of a run that was stopped before it had anything to save."""
    return [
        text(
            "stopped before the first step, nothing to save; "
            "`swiftbox runs resume` continues, downloads included",
            "在第一步之前停止，没有需要保存的内容；`swiftbox runs resume` 可继续，包括下载",
        )
    ]


def failure_lines(event: Event) -> list[str]:
    """Return the end of the traceback, the message and the hint of a failed run."""
    trace = str(event.get("traceback") or "").rstrip().splitlines()
    lines = trace[-TRACEBACK_LINES:]
    if len(trace) > TRACEBACK_LINES:
        hidden = len(trace) - TRACEBACK_LINES
        omitted = text(
            f"  ... {hidden} further lines in log.txt", f"  …… 另有 {hidden} 行见 log.txt"
        )
        lines = [trace[0], omitted, *lines]
    first, *rest = str(event["message"]).splitlines() or [""]
    lines += [text(f"error: {first}", f"错误：{first}"), *rest]
    if hint := event.get("hint"):
        lines.append(text(f"hint: {hint}", f"建议：{hint}"))
    return lines


LINES: Mapping[str, Lines] = {
    events.STAGE: phase_lines,
    events.NOTE: note_lines,
    events.WARNING: warning_lines,
    events.FAILED: failure_lines,
    events.STOPPED: stopped_early_lines,
}
