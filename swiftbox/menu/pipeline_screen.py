"""The whole chain: a goal, a model, data and the steps become one YAML; a step can be changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.fields import cards
from swiftbox.config.pipeline import NOT_OF_A_STEP, PipelineConfig, PipelineStep
from swiftbox.config.presets import presets
from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import scalar
from swiftbox.evaluation.benchmarks import SAMPLES
from swiftbox.language import text
from swiftbox.menu.draft import Draft, default_name, of_file, of_task
from swiftbox.menu.evaluate_screen import asks_others, samples_title
from swiftbox.menu.form import Values, ask_field, more
from swiftbox.menu.goals import GOALS, Goal
from swiftbox.menu.questions import Back, select, select_many
from swiftbox.menu.review_screen import Extra, Screen, review
from swiftbox.menu.start_screen import starts_of
from swiftbox.menu.training_screen import method_for
from swiftbox.models.location import looks_like_path
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, load
from swiftbox.tasks.pipeline.chain import STEPS, blocks

ASKED = ("model", "tuner_type", "dataset")
"""Settings of the training that are asked; all others can be changed step by step."""


def begin(probe: Any) -> Path | None:
    """Put a chain together and carry it out; return its folder once it is done."""
    while True:
        draft = _from_choice(probe)
        try:
            probe.result()
            return review(draft, SCREEN)
        except Back:
            continue


def _from_choice(probe: Any) -> Draft:
    """Let a goal be chosen and the questions be answered, or a YAML that is here."""
    choices: list[tuple[Any, str]] = [(goal, goal.title) for goal in GOALS if goal.name in TALKING]
    choices += [one for one in starts_of("pipeline", SCREEN) if isinstance(one[0], Path)]
    while True:
        chosen = select(text("What is to be learned?", "要训练什么？"), choices)
        if isinstance(chosen, Path):
            return of_file(chosen, probe.now)
        try:
            return _answered(chosen, probe)
        except Back:
            continue


TALKING = ("follow", "style", "prefer", "continue")
"""Goals whose result writes answers, which all later steps need."""


def _answered(goal: Goal, probe: Any) -> Draft:
    """Ask for all that a chain needs; Back goes one question back, from the first to the goal."""
    model: type[TaskConfig] = TASKS["train"].config_classes[method_for(goal)]
    stage = str(model.model_fields["stage"].default)
    asked = [next(one for one in cards(model) if one.name == name) for name in ASKED]
    answers: Values = dict(goal.values)
    at = 0
    while True:
        try:
            if at < len(asked):
                answers[asked[at].name] = ask_field(model, asked[at], answers, probe.now)
                at += 1
                continue
            steps = steps_for(answers)
        except Back:
            at -= 1
            if at < 0:
                raise
            continue
        return Draft(
            PipelineConfig, {"steps": made({"stage": stage, **answers}, steps)}, machine=probe.now
        )


def made(values: Values, steps: Sequence[str]) -> list[dict[str, Any]]:
    """Return the steps as flat blocks; benchmarks are the samples that are here."""
    scored = {"evaluate.benchmarks": list(SAMPLES)} if "evaluate" in steps else {}
    return blocks({**scored, **values}, steps)


def steps_for(answers: Mapping[str, Any]) -> list[str]:
    """Let the steps be marked; all are but the download of what is here already."""
    titles = {
        "download": text("download the model", "下载模型"),
        "train": text("train it", "训练"),
        "merge": text("merge the adapter into the base", "将适配器合并进基座"),
        "quantize": text("quantize the result", "量化结果"),
        "evaluate": text("evaluate base, tuned and quantized", "评测：基座、微调、量化"),
        "deploy": text("deploy it, until stopped", "部署，直到停止"),
    }
    offered = [one for one in STEPS if one in TASKS]
    here = looks_like_path(str(answers.get("model", "")))
    marked = [one for one in offered if not (one == "download" and here)]
    asked = text("Which steps?", "包含哪些步骤？")
    return select_many(asked, [(one, titles[one]) for one in offered], marked)


def extras(draft: Draft, _prepared: Any) -> Sequence[Extra]:
    """Offer to change the settings of a step, and the samples where others are fetched."""
    found = [Extra(text("change a step", "修改某一步"), change_step, "second")]
    if any(asks_others(one) for one in draft.values["steps"] if one["task"] == "evaluate"):
        found.append(Extra(samples_title(), with_samples, "second"))
    return found


def with_samples(draft: Draft) -> Draft:
    """Return the chain with the sample sets asked in each evaluation."""
    steps = [
        {**one, "benchmarks": list(SAMPLES)} if one["task"] == "evaluate" else one
        for one in draft.values["steps"]
    ]
    return draft.with_values(steps=steps)


def change_step(draft: Draft) -> Draft:
    """Let the settings of one step be changed."""
    steps: list[dict[str, Any]] = draft.values["steps"]
    choices = [(at, f"{one['name']}  (task: {one['task']})") for at, one in enumerate(steps)]
    at = select(text("Which step?", "哪一步？"), choices)
    step = steps[at]
    kept = {key: step[key] for key in ("name", "task")}
    inner = of_task(step["task"], {key: one for key, one in step.items() if key not in kept})
    picked = inner.task.discriminator
    of_class = {picked: step[picked]} if picked != "task" and picked in step else {}
    changed = more(inner.model, inner.values, draft.machine, without=("output_dir",))
    now = {**kept, **of_class, **changed}
    return draft.with_values(steps=[now if one is step else one for one in steps])


def command_of(draft: Draft, loaded: Loaded) -> str:
    """Return the command line that does what the menu does.

    A preset with the same steps is changed step by step; other chains are run from their file.
    """
    if draft.file is not None and draft.is_saved():
        return f"swiftbox run {shlex.quote(str(draft.file))}"
    name = default_name(loaded.config)
    wanted = flat(loaded.config)
    for preset, path in presets().items():
        given = load(path).config if preset.startswith("pipeline") else None
        if given is not None and outline(given) == outline(loaded.config):
            settings = settings_of(flat(given), wanted)
            made = shlex.join(["swiftbox", "new", preset, "-o", name, *settings])
            return f"{made} && swiftbox run {shlex.quote(name)}"
    after = text("(once the YAML is saved)", "（先保存 YAML）")
    return f"swiftbox run {shlex.quote(name)}  {after}"


def outline(config: TaskConfig) -> list[tuple[str, str]]:
    """Return the names of the steps, and their tasks with what picks their settings."""
    kinds = [(one, TASKS[one.config.task].discriminator) for one in steps_in(config)]
    return [(one.name, f"{one.config.task} {getattr(one.config, key)}") for one, key in kinds]


def steps_in(config: TaskConfig) -> tuple[PipelineStep, ...]:
    """Return the steps of a pipeline; none of another task."""
    return config.steps if isinstance(config, PipelineConfig) else ()


def flat(config: TaskConfig) -> dict[str, Any]:
    """Return the settings of a chain as the command line calls them: step.key."""
    found: dict[str, Any] = {"output_dir": config.output_dir}
    for step in steps_in(config):
        values = step.config.model_dump(mode="json", exclude=set(NOT_OF_A_STEP))
        found |= {f"{step.name}.{key}": value for key, value in values.items()}
    return found


def settings_of(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what is to be set to come from one chain to another of the same steps."""
    return [f"{key}={scalar(value)}" for key, value in wanted.items() if given[key] != value]


SCREEN = Screen(
    run=("run the whole chain", "运行全流程"),
    detach=("run it in the background", "后台运行全流程"),
    without=("steps",),
    command=command_of,
    extras=extras,
)
