"""From the blocks of a pipeline to typed steps with valid references, or to every mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from swiftbox.config.blocks import Block, in_line_order, read_blocks, report
from swiftbox.config.checking import build
from swiftbox.config.groups import DATASET_KEYS, MODEL_KEYS
from swiftbox.config.pipeline import FILE_KEYS, STEP_KEYS, PipelineStep, StepPolicy
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry
from swiftbox.config.references import OutputReference, misspelt, references_in
from swiftbox.config.task import TaskConfig
from swiftbox.formatting import nearest, suggestion_ending
from swiftbox.language import text
from swiftbox.tasks import TASKS
from swiftbox.tasks.unknown_task import check_without_task, unknown_task

PIPELINE = "pipeline"

TypedConfig = TaskConfig | None
"""The config of a step; None if something is wrong with it."""

ReadConfig = Callable[[Settings], TypedConfig]


@dataclass
class _StepsSoFar:
    """The steps that were read, and the line of every step of the file."""

    lines: Mapping[str, str]
    configs: dict[str, TypedConfig] = field(default_factory=dict)


def settle_steps(settings: Settings, read_config: ReadConfig) -> None:
    """Replace the blocks of a file by typed steps; add all that is wrong with any of them."""
    entry = settings.entries.get("steps")
    if entry is None:
        return
    blocks = list(read_blocks(entry, settings))
    so_far = _StepsSoFar({block.name: block.where for block in blocks})
    steps = []
    for block in blocks:
        problems_before = len(block.settings.problems)
        policy = _policy(block)
        config = _typed(block, read_config)
        _check_references(block, so_far)
        so_far.configs[block.name] = config
        if policy and config and len(block.settings.problems) == problems_before:
            values = policy.model_dump()
            steps.append(PipelineStep(name=block.name, config=config, **values))
        report(block, settings)
    settings.entries["steps"] = replace(entry, value=tuple(steps), plain=None)


def _policy(block: Block) -> StepPolicy | None:
    """Take the keys of a block that are not its task's; None if something is wrong with them."""
    settings = block.settings
    policy = Settings(settings.source, first_line=settings.first_line)
    for key in STEP_KEYS:
        if key in settings.entries:
            policy.entries[key] = settings.entries.pop(key)
    built = build(StepPolicy, policy, {})
    settings.problems += policy.problems
    return built


def _typed(block: Block, read_config: ReadConfig) -> TypedConfig:
    """Return the typed config of a block."""
    settings = block.settings
    known = [name for name in TASKS if name != PIPELINE]
    folder = settings.entries.get("output_dir")
    if folder is not None and folder.value != "auto":
        settings.problems.append(_folder_of_step(folder))
    for key in FILE_KEYS:
        settings.entries.pop(key, None)
    task = settings.entries.get("task")
    if task is not None and str(task.value) in known:
        return read_config(settings)
    if task is None:
        listed = ", ".join(known)
        message = text(f"is required: one of {listed}", f"必填，应为其中之一：{listed}")
        settings.problems.append(ConfigProblem(block.where, "task", message, settings.first_line))
    elif task.value == PIPELINE:
        message = text("a pipeline cannot be a step of a pipeline", "流水线的步骤不能是流水线")
        settings.problems.append(ConfigProblem(task.where, "task", message, task.order))
        return None
    else:
        settings.problems.append(unknown_task(task, known))
    check_without_task(settings, known)
    return None


def _folder_of_step(folder: YamlEntry) -> ConfigProblem:
    message = text(
        "the folder of a step is inside that of the pipeline; set output_dir of the pipeline",
        "步骤位于流水线目录之内；请设置流水线的 output_dir",
    )
    return ConfigProblem(folder.where, "output_dir", message, folder.order)


def _check_references(block: Block, so_far: _StepsSoFar) -> None:
    """Add a problem for each reference of a block that names no output of an earlier step."""
    task = block.settings.entries.get("task")
    for key, entry in in_line_order(block.settings.entries):
        mistakes = [
            _mistake(reference, block.name, so_far)
            or _wrong_kind(reference, key, str(task.value) if task else "")
            for reference in references_in(entry.value)
        ]
        if malformed := misspelt(entry.value):
            form = "${step.output}"
            mistakes.append(
                text(
                    f"{malformed}: a reference has the form {form}",
                    f"{malformed}：引用应写成 {form}",
                )
            )
        block.settings.problems.extend(
            ConfigProblem(entry.where, key, mistake, entry.order) for mistake in mistakes if mistake
        )


def _mistake(reference: OutputReference, step: str, so_far: _StepsSoFar) -> str:
    """Return what is wrong with a reference of a step; empty if nothing is."""
    target = reference.step
    if target == step:
        return text(f"{reference} refers to this step itself", f"{reference} 指向本步骤自身")
    if target in so_far.configs:
        config = so_far.configs[target]
        # What is wrong with that step is reported there.
        return "" if config is None else _missing_output(reference, config)
    if target in so_far.lines:
        line = so_far.lines[target]
        return text(
            f"{reference}: {target} is a later step ({line}); use outputs of earlier steps",
            f"{reference}：{target} 在其后（{line}）；步骤只能使用前面的结果",
        )
    message = text(
        f"{reference}: no step is named {target}", f"{reference}：没有名为 {target} 的步骤"
    )
    return message + suggestion_ending(nearest(target, so_far.lines, cutoff=0.5))


ADDRESSES = ("endpoint", "judge_endpoint")


def _wrong_kind(reference: OutputReference, key: str, task: str) -> str:
    """Return what is wrong with an output that a key cannot take; empty if nothing is."""
    kind = reference.output
    is_address = kind == "url"
    takes_weights = key in MODEL_KEYS and kind in ("report", "answers", "url")
    takes_data = key in DATASET_KEYS and kind in ("report", "answers", "url", "model", "adapter")
    takes_address = key in ADDRESSES and not is_address
    if takes_weights or takes_data or takes_address:
        return text(
            f"{reference} is not what {key} takes: {_description(key)}",
            f"{reference} 不能用于 {key}：应为{_description(key)}",
        )
    if key in ("model", "teacher_model", "tuned_model") and kind == "adapter" and task != "chat":
        return text(
            f"{reference} is an adapter: give it as adapter, and its base as model",
            f"{reference} 是适配器：请以 adapter 给出，并以 model 给出其基座",
        )
    return ""


def _description(key: str) -> str:
    if key in ADDRESSES:
        return text("the address of a server", "服务地址")
    if key in DATASET_KEYS:
        return text("rows", "数据")
    return text("weights", "权重")


def _missing_output(reference: OutputReference, config: TaskConfig) -> str:
    step, task = reference.step, config.task
    outputs = list(TASKS[task].outputs(config))
    if reference.output in outputs:
        return ""
    if not outputs:
        return text(
            f"{reference}: {step} (task: {task}) has no outputs",
            f"{reference}：{step}（task: {task}）没有可供引用的结果",
        )
    listed = ", ".join(str(OutputReference(step, name)) for name in outputs)
    return text(
        f"{reference}: {step} (task: {task}) has no output {reference.output}; it has {listed}",
        f"{reference}：{step}（task: {task}）没有 {reference.output}；可用 {listed}",
    )
