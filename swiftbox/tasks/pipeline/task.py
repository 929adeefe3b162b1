"""task: pipeline. Steps one after the other, each a run of its own, each kept while it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from swiftbox.config.pipeline import PipelineConfig, PipelineStep
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.config.references import references_in
from swiftbox.data.check import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, UserError
from swiftbox.language import text
from swiftbox.models.inspection import loader_missing
from swiftbox.models.requirements import Finding
from swiftbox.quantization.checks import KINDS
from swiftbox.runs.events import Emit
from swiftbox.tasks.checks import OnRemark
from swiftbox.tasks.task import Reason, Resolved, Task

Held = TypeVar("Held")


def task_of(step: PipelineStep) -> Task[Any]:
    """Return the task of a step."""
    from swiftbox.tasks import TASKS  # the table holds this task too

    return TASKS[step.config.task]


def resolve(config: PipelineConfig, machine: Machine) -> Resolved:
    """Settle every step as far as it can be without what earlier ones make."""
    reasons: list[Reason] = []

    def settled(step: PipelineStep) -> PipelineStep:
        found = task_of(step).resolve(step.config, machine)
        reasons.extend(replace(one, key=f"{step.name}.{one.key}") for one in found.reasons)
        return step.model_copy(update={"config": found.config})

    steps = _of_each(config, settled)
    return Resolved(config.model_copy(update={"steps": tuple(steps)}), tuple(reasons), 1, {})


def _of_each(config: PipelineConfig, act: Callable[[PipelineStep], Held]) -> list[Held]:
    """Do something with every step; raise what is wrong with any of them as one error."""
    found: list[Held] = []
    errors: list[UserError] = []
    for step in config.steps:
        try:
            found.append(act(step))
        except UserError as error:
            lines = (f"{step.name}: {line}" for line in error.message.splitlines())
            errors.append(type(error)("\n".join(lines), hint=error.hint))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        hints = dict.fromkeys(one.hint for one in errors if one.hint)
        raise type(errors[0])("\n".join(one.message for one in errors), hint="\n".join(hints))
    return found


def with_absolute_paths(config: PipelineConfig) -> PipelineConfig:
    """Make the local paths of every step absolute."""
    steps = _of_each(
        config,
        lambda step: step.model_copy(
            update={"config": task_of(step).with_absolute_paths(step.config)}
        ),
    )
    return config.model_copy(update={"steps": tuple(steps)})


def check(config: PipelineConfig, on_remark: OnRemark) -> Mapping[str, CheckedRows]:
    """Check every step as far as what it works on is here; return the rows by step."""
    _require_use(config)
    found: dict[str, CheckedRows] = {}

    def looked_at(step: PipelineStep) -> None:
        def remark(one: Finding) -> None:
            on_remark(replace(one, message=f"{step.name}: {one.message}"))

        _require_servable(config, step)
        rows = task_of(step).check(step.config, remark)
        if isinstance(rows, CheckedRows):
            found[step.name] = rows

    _of_each(config, looked_at)
    return found


def _require_servable(config: PipelineConfig, step: PipelineStep) -> None:
    """Raise ConfigError for a step that would load weights its server cannot read, hours later."""
    if step.config.task not in ("deploy", "evaluate", "chat"):
        return
    engine = getattr(step.config, "engine", "builtin")
    used = {one.step for one in references_in(step.config.model_dump())}
    for made in config.steps:
        if made.name not in used or not isinstance(made.config, QuantizeConfig):
            continue
        method = made.config.method
        kind = {"quantization_config": {"quant_method": KINDS.get(method)}}
        if method != "gguf" and (engine == "vllm" or not loader_missing(kind)):
            continue
        cure = text(f"set {made.name}.method: bnb", f"设 {made.name}.method: bnb")
        if method != "gguf" and step.config.task != "chat":
            cure += text(f", or {step.name}.engine: vllm", f"，或 {step.name}.engine: vllm")
        raise ConfigError(
            text(
                f"the {engine} server cannot load what {made.name} makes (method: {method})",
                f"{engine} 服务无法加载 {made.name} 的结果（method: {method}）",
            ),
            hint=cure,
        )


def users_of(config: PipelineConfig, name: str) -> list[str]:
    """Return the names of the steps that use what a step makes."""
    return [
        step.name
        for step in config.steps
        if any(one.step == name for one in references_in(step.config.model_dump()))
    ]


def _require_use(config: PipelineConfig) -> None:
    """Raise ConfigError for a server that would be started for nobody."""
    idle = [
        step.name
        for step in config.steps[:-1]
        if task_of(step).serves and not users_of(config, step.name)
    ]
    if idle:
        one = idle[0]
        raise ConfigError(
            text(
                f"{one}: no later step uses ${{{one}.url}}, and steps follow it",
                f"{one}：其后的步骤均未使用 ${{{one}.url}}",
            ),
            hint=text(
                f"put {one} last: there it serves until it is stopped",
                f"请将 {one} 放在最后：它会一直服务到被停止",
            ),
        )


def engines(config: PipelineConfig, machine: Machine) -> tuple[str, ...]:
    """Name the engines that any step needs."""
    named = (task_of(step).engines(step.config, machine) for step in config.steps)
    return tuple(dict.fromkeys(one for names in named for one in names))


def run_name(config: PipelineConfig) -> str:
    """Name a pipeline by its first and its last step."""
    names = [config.steps[0].name, config.steps[-1].name]
    return "-".join(["pipeline", *dict.fromkeys(names)]).lower()


def run(config: PipelineConfig, folder: Path, emit: Emit) -> Path | None:
    """Carry out the steps that do not hold any more; return the folder, None when stopped."""
    from swiftbox.tasks.pipeline.run import Pipeline

    return Pipeline(config, folder, emit).carry_out()


PIPELINE: Task[PipelineConfig] = Task(
    name="pipeline",
    discriminator="task",
    default="pipeline",
    config_classes={"pipeline": PipelineConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    check=check,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    continues=True,
)
