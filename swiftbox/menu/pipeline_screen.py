"""The pipeline screens: a goal, a model, data and steps become one YAML; steps can be changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.fields import cards
from swiftbox.config.pipeline import FILE_KEYS, STEP_KEYS, PipelineConfig, PipelineStep
from swiftbox.config.presets import presets
from swiftbox.config.task import TaskConfig
from swiftbox.devices.probe import Probe
from swiftbox.evaluation.benchmarks import SAMPLES
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.menu.draft import (
    Draft,
    changed_settings,
    default_file_name,
    draft_from_file,
    new_draft,
)
from swiftbox.menu.evaluate_screen import needs_downloads, samples_title
from swiftbox.menu.field_question import Values, ask_field
from swiftbox.menu.form import change_settings
from swiftbox.menu.goals import GOALS, Goal
from swiftbox.menu.questions import Back, select, select_many
from swiftbox.menu.review_screen import ReviewAction, TaskScreen, review
from swiftbox.menu.start_screen import starts_of
from swiftbox.menu.training_screen import choose_method
from swiftbox.models.location import find_folder, looks_like_path
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, load
from swiftbox.tasks.pipeline.chain import STEPS, chain_blocks

TRAINING_FIELDS = ("model", "tuner_type", "dataset")
"""Settings of the training that are asked; all others can be changed step by step."""

GOALS_WITH_ANSWERS = ("follow", "style", "prefer", "continue")
"""Goals whose result writes answers, which all later steps need."""


def open_pipeline(probe: Probe) -> Path | None:
    """Put a pipeline together and review it; return the folder of a run that is done."""
    while True:
        draft = choose_start(probe)
        try:
            probe.result()  # the plan needs the devices; raises if they cannot be probed
            return review(draft, SCREEN)
        except Back:
            continue


def choose_start(probe: Probe) -> Draft:
    """Let a goal be chosen and ask its questions, or take a YAML to start from."""
    starts: list[tuple[Goal | Path, str]] = [
        (goal, goal.title) for goal in GOALS if goal.name in GOALS_WITH_ANSWERS
    ]
    starts += [
        (start, title) for start, title in starts_of("pipeline", SCREEN) if isinstance(start, Path)
    ]
    while True:
        start = select(text("What should the model learn?", "要训练什么？"), starts)
        if isinstance(start, Path):
            return draft_from_file(start, probe.now)
        try:
            return ask_pipeline(start, probe)
        except Back:
            continue


def ask_pipeline(goal: Goal, probe: Probe) -> Draft:
    """Ask for all that a pipeline needs; Back goes one question back, from the first raises."""
    config_class: type[TaskConfig] = TASKS["train"].config_classes[choose_method(goal)]
    stage = str(config_class.model_fields["stage"].default)
    by_name = {card.name: card for card in cards(config_class)}
    fields = [by_name[name] for name in TRAINING_FIELDS]
    answers: Values = dict(goal.values)
    position = 0
    while True:
        try:
            if position == len(fields):
                steps = choose_steps(answers)
                break
            card = fields[position]
            answers[card.name] = ask_field(config_class, card, answers, probe.now)
            position += 1
        except Back:
            position -= 1
            if position < 0:
                raise
    values = {"steps": step_blocks({"stage": stage, **answers}, steps)}
    return Draft(PipelineConfig, values, machine=probe.now)


def step_blocks(values: Values, steps: Sequence[str]) -> list[dict[str, Any]]:
    """Return the steps as blocks of YAML; an evaluation uses the included samples."""
    samples = {"evaluate.benchmarks": list(SAMPLES)} if "evaluate" in steps else {}
    return chain_blocks({**samples, **values}, steps)


def step_title(task: str) -> str:
    """Return what a step does."""
    titles = {
        "download": text("download the model", "下载模型"),
        "train": text("train it", "训练"),
        "merge": text("merge the adapter into the base", "将适配器合并进基座"),
        "quantize": text("quantize the result", "量化结果"),
        "evaluate": text("evaluate base, tuned and quantized", "评测：基座、微调、量化"),
        "deploy": text("deploy it until stopped", "部署，直到停止"),
    }
    return titles.get(task, task)


def choose_steps(answers: Mapping[str, Any]) -> list[str]:
    """Let steps be checked; all are at first, except the download of a model in a folder."""
    offered = [step for step in STEPS if step in TASKS]
    model = str(answers.get("model", ""))
    has_folder = looks_like_path(model) or find_folder(model) is not None
    checked = [step for step in offered if not (step == "download" and has_folder)]
    choices = [(step, step_title(step)) for step in offered]
    return select_many(text("Which steps?", "包含哪些步骤？"), choices, checked)


def review_actions(draft: Draft, _prepared: Prepared | None) -> Sequence[ReviewAction]:
    """Offer to change the settings of a step, and the included samples if others are used."""
    actions = [ReviewAction(text("change a step", "修改某一步"), change_step, "after run")]
    if any(step["task"] == "evaluate" and needs_downloads(step) for step in draft.values["steps"]):
        actions.append(ReviewAction(samples_title(), with_samples, "after run"))
    return actions


def with_samples(draft: Draft) -> Draft:
    """Return the pipeline with the included samples in each evaluation."""
    samples = {"benchmarks": list(SAMPLES)}
    steps = [
        {**step, **samples} if step["task"] == "evaluate" else step
        for step in draft.values["steps"]
    ]
    return draft.with_values(steps=steps)


def change_step(draft: Draft) -> Draft:
    """Let the settings of one step be changed."""
    steps: list[dict[str, Any]] = draft.values["steps"]
    choices = [(at, _step_choice(step)) for at, step in enumerate(steps)]
    position = select(text("Which step?", "哪一步？"), choices)
    step = steps[position]
    identity = {key: step[key] for key in ("name", "task", *STEP_KEYS) if key in step}
    settings = {key: value for key, value in step.items() if key not in identity}
    inner = new_draft(step["task"], settings)
    discriminator = inner.task.discriminator
    if discriminator in settings:
        identity[discriminator] = settings[discriminator]
    changed = change_settings(
        inner.config_class, inner.values, draft.machine, without=("output_dir",)
    )
    new_step = {**identity, **changed}
    return draft.with_values(steps=[*steps[:position], new_step, *steps[position + 1 :]])


def _step_choice(step: Mapping[str, Any]) -> str:
    name, task = step["name"], step["task"]
    return text(f"{name}  (task: {task})", f"{name}  {step_title(task)}")


def pipeline_command(draft: Draft, loaded: Loaded) -> str:
    """Return the command line that does the same as the draft.

    A preset with the same steps is changed step by step; other pipelines are run from their file.
    """
    if draft.file is not None and draft.is_saved():
        return f"swiftbox run {shlex.quote(str(draft.file))}"
    name = default_file_name(loaded.config)
    for preset, path in presets().items():
        pipeline = load(path).config if preset.startswith("pipeline") else None
        if pipeline is not None and outline(pipeline) == outline(loaded.config):
            settings = changed_settings(step_settings(pipeline), step_settings(loaded.config))
            write = shlex.join(["swiftbox", "new", preset, "-o", name, *settings])
            return f"{write} && swiftbox run {shlex.quote(name)}"
    after = text("(after saving the YAML)", "（先保存 YAML）")
    return f"swiftbox run {shlex.quote(name)}  {after}"


def outline(config: TaskConfig) -> list[tuple[str, str]]:
    """Return the names of the steps, each with its task and the class of its settings."""
    rows = []
    for step in steps_in(config):
        discriminator = TASKS[step.config.task].discriminator
        rows.append((step.name, f"{step.config.task} {getattr(step.config, discriminator)}"))
    return rows


def steps_in(config: TaskConfig) -> tuple[PipelineStep, ...]:
    """Return the steps of a pipeline; none for another task."""
    return config.steps if isinstance(config, PipelineConfig) else ()


def step_settings(config: TaskConfig) -> dict[str, Any]:
    """Return the settings of a pipeline as the command line names them: step.key."""
    settings: dict[str, Any] = {"output_dir": config.output_dir}
    if isinstance(config, PipelineConfig):
        settings["on_failure"] = config.on_failure
    for step in steps_in(config):
        settings |= {f"{step.name}.{key}": getattr(step, key) for key in STEP_KEYS}
        values = step.config.model_dump(mode="json", exclude=set(FILE_KEYS))
        settings |= {f"{step.name}.{key}": value for key, value in values.items()}
    return settings


SCREEN = TaskScreen(
    run_title=("run the pipeline", "运行全流程"),
    detach_title=("run it in the background", "后台运行全流程"),
    hidden_fields=("steps",),
    command=pipeline_command,
    actions=review_actions,
)
