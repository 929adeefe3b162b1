"""task: pipeline. Runs its steps one after the other, each in a folder; keeps unchanged ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.pipeline import PipelineConfig, PipelineStep
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.config.references import is_reference
from swiftbox.data.findings import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, UserError, raise_together
from swiftbox.fit.workload import UNKNOWN, Workload
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.quantization.verification import QUANT_METHODS
from swiftbox.runs.events import Emit
from swiftbox.serving.openers import opener_for
from swiftbox.tasks.checks import OnRemark, ignored
from swiftbox.tasks.effects import Effects, joined
from swiftbox.tasks.pipeline.graph import (
    ancestors,
    dependencies,
    task_of,
    users_of,
    with_step_name,
)
from swiftbox.tasks.pipeline.run import PipelineRun
from swiftbox.tasks.pipeline.skipping import chain_without, skipped_line
from swiftbox.tasks.shared_effects import code_of_models, run_folder_outside
from swiftbox.tasks.task import Reason, Resolved, Task

Result = TypeVar("Result")

SERVING_TASKS = ("deploy", "evaluate", "chat")
"""Tasks that load a model into a server."""


def resolve(config: PipelineConfig, machine: Machine, workload: Workload = UNKNOWN) -> Resolved:
    """Resolve every step as far as possible without the outputs of earlier ones."""
    reasons: list[Reason] = []

    def resolved_step(step: PipelineStep) -> PipelineStep:
        if step.skip:
            return step
        step = _with_engine_of_gguf(config, step)
        task, known = task_of(step), workload.steps.get(step.name)
        if known is None or task.resolve_workload is None:
            resolved = task.resolve(step.config, machine)
        else:
            resolved = task.resolve_workload(step.config, machine, known)
        for reason in resolved.reasons:
            reasons.append(replace(reason, key=f"{step.name}.{reason.key}"))
        return step.model_copy(update={"config": resolved.config})

    steps = _for_each_step(config, resolved_step)
    return Resolved(config.model_copy(update={"steps": tuple(steps)}), tuple(reasons), 1, {})


def _for_each_step(config: PipelineConfig, act: Callable[[PipelineStep], Result]) -> list[Result]:
    """Call a function with every step; raise the errors of all steps as one."""
    results: list[Result] = []
    errors: list[UserError] = []
    for step in config.steps:
        try:
            results.append(act(step))
        except UserError as error:
            lines = (with_step_name(step.name, line) for line in error.message.splitlines())
            errors.append(type(error)("\n".join(lines), hint=error.hint))
    raise_together(errors)
    return results


def with_absolute_paths(config: PipelineConfig) -> PipelineConfig:
    """Make the local paths of every step absolute.

    Raises UserError for paths that do not exist, together with what the checks of all steps find.
    """

    def absolute_step(step: PipelineStep) -> PipelineStep:
        if step.skip:
            return step
        return step.model_copy(update={"config": task_of(step).with_absolute_paths(step.config)})

    def check_step(step: PipelineStep) -> None:
        if not step.skip:
            task_of(step).check(absolute_step(step).config, ignored)

    try:
        steps = _for_each_step(config, absolute_step)
    except UserError:
        _for_each_step(config, check_step)
        raise
    return config.model_copy(update={"steps": tuple(steps)})


def check(config: PipelineConfig, on_remark: OnRemark) -> Mapping[str, CheckedRows]:
    """Check every step as far as its inputs exist; return the checked rows by step.

    Remarks say what a skipped step changes for later ones, also for steps that are skipped if they
    fail.
    """
    _require_users(config)
    chain = chain_without(config, {})
    for line in chain.lines():
        on_remark(Remark(NOTE, "pipeline", line))
    config = chain.config
    rows_by_step: dict[str, CheckedRows] = {}

    def check_step(step: PipelineStep) -> None:
        def remark(finding: Remark) -> None:
            on_remark(replace(finding, message=with_step_name(step.name, finding.message)))

        require_loadable(config, step)
        rows = task_of(step).check(step.config, remark)
        if isinstance(rows, CheckedRows):
            rows_by_step[step.name] = rows

    _for_each_step(config, check_step)
    for step in config.steps:
        if config.policy_of(step) == "skip" and step is not config.steps[-1]:
            on_remark(Remark(NOTE, "pipeline", _line_of_failure(config, step)))
    return rows_by_step


def _line_of_failure(config: PipelineConfig, step: PipelineStep) -> str:
    """Describe what follows if a step fails and is skipped."""
    lines = text("; ", "；").join(lines_without(config, step.name))
    if not lines:
        return text(
            f"if {step.name} fails, it is skipped; no other step uses it",
            f"若 {step.name} 失败，则跳过；没有其他步骤使用它",
        )
    return text(
        f"if {step.name} fails, it is skipped: {lines}",
        f"若 {step.name} 失败，则跳过它：{lines}",
    )


def lines_without(config: PipelineConfig, name: str) -> list[str]:
    """Describe what the other steps do if a step is skipped, checked like the steps themselves.

    A step that its task refuses with the other input is skipped as well.
    """
    failed = {name: text("failed", "失败")}
    while True:
        chain = chain_without(config, failed)
        refused = {
            step.name: message
            for step in chain.config.steps
            if step.name in chain.changes and (message := _refusal(chain.config, step))
        }
        if not refused:
            break
        failed |= refused
    before = chain_without(config, {}).lines()
    own_line = skipped_line(name, failed[name])
    return [line for line in chain.lines() if line not in (*before, own_line)]


def _refusal(config: PipelineConfig, step: PipelineStep) -> str:
    """Return why a step refuses its settings; empty if it accepts them."""
    try:
        require_loadable(config, step)
        task_of(step).check(step.config, ignored)
    except UserError as error:
        return error.message.splitlines()[0]
    return ""


def check_availability(config: PipelineConfig) -> None:
    """Repeat the checks of every step that other programs may have outdated."""
    config = chain_without(config, {}).config
    _for_each_step(config, lambda step: task_of(step).check_availability(step.config))


def require_loadable(config: PipelineConfig, step: PipelineStep) -> None:
    """Raise ConfigError if the server of a step cannot load the weights that an earlier one makes.

    Without this the step would fail hours later.
    """
    if step.config.task not in SERVING_TASKS:
        return
    engine = getattr(step.config, "engine", "builtin")
    for name, method in _quantized(config, step):
        kind = {"quantization_config": {"quant_method": QUANT_METHODS.get(method)}}
        is_loadable = engine != "llama_cpp" and (engine == "vllm" or not opener_for(kind).lacking)
        if method == "gguf":
            # An evaluation and a chat choose the program by the file of each model.
            is_loadable = engine == "llama_cpp" or not isinstance(step.config, DeployConfig)
        if not is_loadable:
            raise _not_loadable(step, name, method)


def _quantized(config: PipelineConfig, step: PipelineStep) -> list[tuple[str, str]]:
    """Return the names of the quantizing steps whose results a step uses, and their methods."""
    used = dependencies(step)
    return [
        (earlier.name, earlier.config.method)
        for earlier in config.steps
        if earlier.name in used and isinstance(earlier.config, QuantizeConfig)
    ]


def _with_engine_of_gguf(config: PipelineConfig, step: PipelineStep) -> PipelineStep:
    """Return a deployment with llama_cpp for `auto` if an earlier step makes its GGUF file."""
    if not isinstance(step.config, DeployConfig) or step.config.engine != "auto":
        return step
    if all(method != "gguf" for _name, method in _quantized(config, step)):
        return step
    return step.model_copy(
        update={"config": step.config.model_copy(update={"engine": "llama_cpp"})}
    )


def _not_loadable(step: PipelineStep, quantized: str, method: str) -> ConfigError:
    engine = getattr(step.config, "engine", "builtin")
    hint = text(f"set {quantized}.method: bnb", f"设 {quantized}.method: bnb")
    if step.config.task != "chat":
        other = "llama_cpp" if method == "gguf" else "vllm"
        hint += text(f", or {step.name}.engine: {other}", f"，或 {step.name}.engine: {other}")
    return ConfigError(
        text(
            f"the {engine} server cannot load the output of {quantized} (method: {method})",
            f"{engine} 服务无法加载 {quantized} 的结果（method: {method}）",
        ),
        hint=hint,
    )


def _require_users(config: PipelineConfig) -> None:
    """Raise ConfigError for a server, other than the last step, that no step uses."""
    for step in config.steps[:-1]:
        name = step.name
        if task_of(step).serves and not users_of(config, name):
            raise ConfigError(
                text(
                    f"{name}: no later step uses ${{{name}.url}}, and steps follow it",
                    f"{name}：其后的步骤均未使用 ${{{name}.url}}",
                ),
                hint=text(
                    f"make {name} the last step: there it serves until it is stopped",
                    f"请将 {name} 放在最后：它会一直服务到被停止",
                ),
            )


def engines(config: PipelineConfig, machine: Machine) -> tuple[str, ...]:
    """Return the names of the engines that the steps need."""
    config = chain_without(config, {}).config
    names: dict[str, None] = {}
    for step in config.steps:
        names.update(dict.fromkeys(task_of(step).engines(step.config, machine)))
    return tuple(names)


def offers(config: PipelineConfig, machine: Machine) -> tuple[str, ...]:
    """Return the names of the engines that steps would take if they were installed."""
    steps = (step for step in config.steps if not step.skip)
    names = (name for step in steps for name in task_of(step).offers(step.config, machine))
    return tuple(dict.fromkeys(names))


def effects(config: PipelineConfig) -> Effects:
    """Return the effects of all steps, with keys as `step.key`."""
    config = chain_without(config, {}).config
    by_step = (_effects_of_step(config, step).of_step(step.name) for step in config.steps)
    parts = joined(by_step)
    return replace(parts, writes=(*run_folder_outside(config), *parts.writes))


def _effects_of_step(config: PipelineConfig, step: PipelineStep) -> Effects:
    """Return the effects of a step; an agreement to code covers the models of earlier steps.

    A reference is the same text in every pipeline: it does not say which code it stands for.
    """
    effects = task_of(step).effects(step.config)
    sources = [
        code
        for earlier in ancestors(config, step)
        for code in code_of_models(earlier.config)
        if not is_reference(code.subject)
    ]
    runs = tuple(
        replace(
            effect,
            subject=" ".join([effect.subject, *(code.subject for code in sources)]),
            files=(*effect.files, *(file for code in sources for file in code.files)),
            is_fixed=all(code.is_fixed for code in sources),
        )
        if is_reference(effect.subject)
        else effect
        for effect in effects.runs
    )
    return replace(effects, runs=runs)


def run_name(config: PipelineConfig) -> str:
    """Name a pipeline by its first and its last step."""
    names = [config.steps[0].name, config.steps[-1].name]
    return "-".join(["pipeline", *dict.fromkeys(names)]).lower()


def run(config: PipelineConfig, folder: Path, emit: Emit) -> Path | None:
    """Run the steps that changed or have no result; return the folder, None when stopped."""
    return PipelineRun(config, folder, emit).run()


PIPELINE: Task[PipelineConfig] = Task(
    name="pipeline",
    discriminator="task",
    default="pipeline",
    config_classes={"pipeline": PipelineConfig},
    resolve=resolve,
    resolve_workload=resolve,
    run=run,
    run_name=run_name,
    effects=effects,
    check=check,
    check_availability=check_availability,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    offers=offers,
    continues=True,
)
