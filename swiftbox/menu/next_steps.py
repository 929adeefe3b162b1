"""What fits a finished run next, its settings filled in: one function decides, for all screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from swiftbox import run_folder
from swiftbox.hub.adapters_here import has_adapter
from swiftbox.language import text
from swiftbox.menu.sources import named
from swiftbox.tasks import TASKS

Kind = Literal["adapter", "model", "quantized", "none"]

SCORES = ("reward",)
"""Stages whose result scores answers and writes none: there is nothing to chat with."""


@dataclass(frozen=True)
class Result:
    """What a run made: its kind, how a config names it, and what it was made from."""

    kind: Kind
    name: str
    base: str = ""
    task: str = ""
    talks: bool = True


@dataclass(frozen=True)
class Step:
    """One sensible next step: the task, what it is called, and its settings."""

    task: str
    title: str
    values: Mapping[str, Any]


def result_of(run: Path) -> Result:
    """Look at what a run made."""
    made = run / run_folder.MODEL
    try:
        settled = yaml.safe_load((run / run_folder.SETTLED).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        settled = None
    said = settled if isinstance(settled, dict) else {}
    task, base = str(said.get("task") or ""), str(said.get("model") or "")
    talks = said.get("stage") not in SCORES
    if has_adapter(run):
        return Result("adapter", named(run), base, task, talks)
    if not (made / "config.json").is_file():
        return Result("none", named(run), base, task)
    is_small = "quantization_config" in run_folder.read_json(made / "config.json")
    kind: Kind = "quantized" if is_small or task == "quantize" else "model"
    return Result(kind, named(made), base, task, talks)


def next_steps(result: Result) -> list[Step]:
    """Return what fits a result, the most usual first; only tasks that this version has."""
    makers = {"adapter": _of_adapter, "model": _of_model, "quantized": _of_quantized}
    if result.kind == "none":
        return []
    return [one for one in makers[result.kind](result) if one.task in TASKS]


def _of_adapter(made: Result) -> list[Step]:
    merge = Step(
        "merge",
        text("merge the adapter into its base", "将适配器合并进基座"),
        {"adapter": made.name},
    )
    if not made.talks:
        return [merge]
    return [
        Step("chat", text("try it in a chat", "对话试用"), {"adapter": made.name}),
        Step(
            "evaluate",
            text("evaluate it against its base", "与基座对比评测"),
            {"adapter": made.name},
        ),
        merge,
        Step("deploy", text("serve it", "部署为服务"), {"adapter": made.name}),
    ]


def _of_model(made: Result) -> list[Step]:
    if not made.talks:
        return []
    compared = {"compare": [made.base]} if made.base and made.task == "train" else {}
    evaluate = text("evaluate it against its start", "与训练前对比评测")
    plain = text("evaluate it", "评测")
    return [
        Step("quantize", text("make it smaller: quantize", "量化以缩小"), {"model": made.name}),
        Step("evaluate", evaluate if compared else plain, {"model": made.name, **compared}),
        Step("deploy", text("serve it", "部署为服务"), {"model": made.name}),
        Step("chat", text("try it in a chat", "对话试用"), {"model": made.name}),
    ]


def _of_quantized(made: Result) -> list[Step]:
    compared = {"compare": [made.base]} if made.base else {}
    return [
        Step(
            "evaluate",
            text("evaluate it against the unquantized", "与未量化的模型对比评测"),
            {"model": made.name, **compared},
        ),
        Step("deploy", text("serve it", "部署为服务"), {"model": made.name}),
        Step("chat", text("try it in a chat", "对话试用"), {"model": made.name}),
    ]
