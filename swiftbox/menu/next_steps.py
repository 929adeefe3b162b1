"""What fits a finished run next, its settings filled in: one function decides, for all screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.menu.options.benchmarks import named
from swiftbox.models.local_adapters import has_adapter
from swiftbox.runs import folder as run_folder
from swiftbox.tasks import TASKS
from swiftbox.tasks.pipeline.state import STEPS

Kind = Literal["adapter", "model", "quantized", "none"]

SCORES = ("reward",)
"""Stages whose result scores answers and writes none: there is nothing to chat with."""


@dataclass(frozen=True)
class Result:
    """What a run made: its kind, how a config names it, and what it was made from."""

    kind: Kind
    name: str
    base: str = ""
    adapter: str | list[str] | None = None
    """What was merged into the base on the way."""
    talks: bool = True
    """Whether it writes answers."""


@dataclass(frozen=True)
class Step:
    """One sensible next step: the task, what it is called, and its settings."""

    task: str
    title: str
    values: Mapping[str, Any]


def result_of(run: Path) -> Result:
    """Look at what a run made; of a whole chain, at the last thing that a step of it made."""
    inside = sorted((run / STEPS).glob("[0-9]*"), reverse=True)
    found = [result_of(one) for one in inside]
    return next((one for one in found if one.kind != "none"), _made_by(run))


def _made_by(run: Path) -> Result:
    made = run / run_folder.MODEL
    try:
        settled = yaml.safe_load((run / run_folder.SETTLED).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        settled = None
    said = settled if isinstance(settled, dict) else {}
    found = Result(
        "none",
        named(run),
        base=str(said.get("model") or ""),
        adapter=said.get("adapter") if said.get("task") == "quantize" else None,
        talks=said.get("stage") not in SCORES,
    )
    if has_adapter(run):
        return replace(found, kind="adapter")
    if not (made / "config.json").is_file():
        return found
    small = "quantization_config" in read_json(made / "config.json")
    kind: Kind = "quantized" if small or said.get("task") == "quantize" else "model"
    return replace(found, kind=kind, name=named(made))


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
    tried = text("try it in a chat, its base beside it", "对话试用，与基座并排")
    return [
        Step("chat", tried, {"adapter": made.name, "compare": "base"}),
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
    smaller = text("make it smaller: quantize", "量化以缩小")
    return [
        Step("quantize", smaller, {"model": made.name}),
        _evaluation(made, text("evaluate it against its base", "与基座对比评测")),
        *_use(made),
    ]


def _of_quantized(made: Result) -> list[Step]:
    against = text("evaluate it against the unquantized", "与未量化的模型对比评测")
    return [_evaluation(made, against), *_use(made)]


def _evaluation(made: Result, title: str) -> Step:
    """Compare it with what it was made from, where that is known."""
    if not made.base:
        return Step("evaluate", text("evaluate it", "评测"), {"model": made.name})
    adapter = {"adapter": made.adapter} if made.adapter else {}
    return Step("evaluate", title, {"model": made.base, **adapter, "compare": [made.name]})


def _use(made: Result) -> list[Step]:
    return [
        Step("deploy", text("serve it", "部署为服务"), {"model": made.name}),
        Step("chat", text("try it in a chat", "对话试用"), {"model": made.name}),
    ]
