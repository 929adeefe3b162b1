"""The next steps for the result of a finished run, their settings filled in, for all screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from swiftbox.errors import RunError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.menu.options.option import config_path
from swiftbox.methods import METHODS
from swiftbox.models.gguf_files import is_gguf_folder
from swiftbox.models.local_adapters import has_adapter
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import STEPS
from swiftbox.runs.plain_files import read_plain
from swiftbox.tasks import TASKS


@dataclass(frozen=True)
class RunResult:
    """The result of a run: its kind, its name in a config, and its inputs."""

    kind: Literal["adapter", "model", "quantized", "none"]
    name: str
    base_model: str = ""
    adapter: str | list[str] | None = None
    """The adapter that was merged into the base before it was quantized."""
    answers: bool = True
    """Whether it writes answers; a reward model scores them."""


@dataclass(frozen=True)
class NextStep:
    """A suggested next step: its task, its title and its settings."""

    task: str
    title: str
    values: Mapping[str, Any]


def result_of(run: Path) -> RunResult:
    """Return what a run produced; for a pipeline, the last result of its steps."""
    step_folders = sorted((run / STEPS).glob("[0-9]*"), reverse=True)
    results = (result_of(folder) for folder in step_folders)
    return next((result for result in results if result.kind != "none"), _own_result(run))


def _own_result(run: Path) -> RunResult:
    settings = _settled(run)
    is_quantization = settings.get("task") == "quantize"
    result = RunResult(
        "none",
        config_path(run),
        base_model=str(settings.get("model") or ""),
        adapter=settings.get("adapter") if is_quantization else None,
        answers=_writes_answers(settings),
    )
    if has_adapter(run):
        return replace(result, kind="adapter")
    model = run / run_folder.MODEL
    if is_gguf_folder(model):
        return replace(result, kind="quantized", name=config_path(model))
    if not (model / "config.json").is_file():
        return result
    is_quantized = is_quantization or "quantization_config" in read_json(model / "config.json")
    return replace(result, kind="quantized" if is_quantized else "model", name=config_path(model))


def _settled(run: Path) -> dict[str, Any]:
    """Return the settled YAML of a run; empty if it cannot be read."""
    try:
        settings = yaml.safe_load(read_plain(run / run_folder.SETTLED))
    except (OSError, ValueError, RecursionError, RunError, yaml.YAMLError):
        return {}
    if not isinstance(settings, dict):
        return {}
    # Settings of a stranger may be an exponential number of aliases: only plain ones are used.
    return {name: value for name, value in settings.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return not isinstance(value, dict)


def _writes_answers(settings: Mapping[str, Any]) -> bool:
    method = METHODS.get(str(settings.get("stage")))
    return method is None or method.head == "language"


def next_steps(result: RunResult) -> list[NextStep]:
    """Return the next steps for a result, the most usual first; only tasks of this version."""
    if result.kind == "none":
        return []
    steps = {"adapter": _after_adapter, "model": _after_model, "quantized": _after_quantized}
    return [step for step in steps[result.kind](result) if step.task in TASKS]


def _after_adapter(result: RunResult) -> list[NextStep]:
    adapter = {"adapter": result.name}
    merge = NextStep(
        "merge", text("merge the adapter into its base", "将适配器合并进基座"), adapter
    )
    if not result.answers:
        return [merge]
    chat = text("chat with it and its base side by side", "对话试用，与基座并排对比")
    evaluate = text("evaluate it against its base", "与基座对比评测")
    return [
        NextStep("chat", chat, {**adapter, "compare": "base"}),
        NextStep("evaluate", evaluate, adapter),
        merge,
        NextStep("deploy", text("serve it", "部署为服务"), adapter),
    ]


def _after_model(result: RunResult) -> list[NextStep]:
    if not result.answers:
        return []
    quantize = text("quantize it to make it smaller", "量化以缩小")
    against_base = text("evaluate it against its base", "与基座对比评测")
    return [
        NextStep("quantize", quantize, {"model": result.name}),
        _evaluation(result, against_base),
        *_uses(result),
    ]


def _after_quantized(result: RunResult) -> list[NextStep]:
    title = text("evaluate it against the unquantized model", "与未量化的模型对比评测")
    return [_evaluation(result, title), *_uses(result)]


def _evaluation(result: RunResult, title: str) -> NextStep:
    """Return the settings that compare a model with its inputs, if they are known."""
    if not result.base_model:
        return NextStep("evaluate", text("evaluate it", "评测"), {"model": result.name})
    adapter = {"adapter": result.adapter} if result.adapter else {}
    values = {"model": result.base_model, **adapter, "compare": [result.name]}
    return NextStep("evaluate", title, values)


def _uses(result: RunResult) -> list[NextStep]:
    return [
        NextStep("deploy", text("serve it", "部署为服务"), {"model": result.name}),
        NextStep("chat", text("chat with it", "对话试用"), {"model": result.name}),
    ]
