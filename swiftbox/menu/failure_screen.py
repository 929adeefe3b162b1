"""A step of a pipeline failed: change a setting, skip it, or stop; in the menu and after `run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.config.pipeline import FILE_KEYS, PipelineConfig, PipelineStep
from swiftbox.config.writing import scalar
from swiftbox.display.live import View
from swiftbox.display.row_progress import shown_row_progress
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.launch.output_folder import settled_in
from swiftbox.launch.prepare import Prepared, agreed, prepare_resume
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.menu.form import change_settings, with_defaults
from swiftbox.menu.questions import Back, select
from swiftbox.menu.start_questions import ask_to_start, install_engines
from swiftbox.menu.terminal import discard_typed_keys, hold_typed_keys, print_error, print_wrapped
from swiftbox.runs import folder as run_folder
from swiftbox.runs.summary import pipeline_steps
from swiftbox.tasks.pipeline.task import lines_without

CHANGE, SKIP, STOP = "change", "skip", "stop"


def continue_after_failures(folder: Path, code: int) -> int:
    """Ask what to do about a step that failed, and continue the pipeline, until nothing is asked.

    Returns the exit code of the last start. Nothing is asked where the settings say what happens.
    """
    while (failed := failed_step(folder)) is not None:
        try:
            overrides = ask_about(*failed)
        except Back:
            return code
        try:
            _folder, code = start_again(partial(prepare_resume, folder, overrides))
        except Back:
            continue
        except UserError as error:
            print_error(error)
    return code


def failed_step(folder: Path) -> tuple[PipelineConfig, PipelineStep] | None:
    """Return the step that ended a pipeline, if its settings leave open what happens."""
    ended = run_folder.find(str(folder))
    if ended.status != "failed":
        return None
    names = [row["name"] for row in pipeline_steps(ended) if row["status"] == "failed"]
    try:
        config = settled_in(folder).config
    except UserError:
        return None
    if not isinstance(config, PipelineConfig):
        return None
    steps = (step for step in config.steps if step.name in names)
    return next(
        ((config, step) for step in steps if config.policy_of(step) == "ask"),
        None,
    )


def ask_about(config: PipelineConfig, step: PipelineStep) -> list[str]:
    """Ask what to do about a failed step; return the overrides to resume with.

    Raises Back to stop.
    """
    name = step.name
    while True:
        discard_typed_keys()
        choices = [
            (CHANGE, text(f"change a setting of {name}", f"修改 {name} 的设置")),
            (SKIP, text(f"skip {name}", f"跳过 {name}")),
            (STOP, text("stop; what is done is kept", "停止；已完成的步骤会保留")),
        ]
        action = select(text(f"{name} failed. What now?", f"{name} 失败。接下来？"), choices)
        if action == STOP:
            raise Back
        overrides = _changes(step) if action == CHANGE else _skip(config, name)
        if overrides:
            return overrides


def _skip(config: PipelineConfig, name: str) -> list[str]:
    """Show what later steps use if a step is skipped; return the override if the user agrees."""
    lines = lines_without(config, name)
    for line in lines:
        print_wrapped(f"  {line}")
    choices = [(True, text(f"skip {name}", f"跳过 {name}")), (False, text("back", "返回"))]
    try:
        skips = not lines or select(text("Continue like this?", "这样继续吗？"), choices)
    except Back:
        return []
    return [f"{name}.skip=true"] if skips else []


def _changes(step: PipelineStep) -> list[str]:
    """Let settings of a step be changed; return them as overrides."""
    config_class = type(step.config)
    settled = step.config.model_dump(mode="json", exclude=set(FILE_KEYS))
    defaults = with_defaults(config_class, {})
    values = {key: value for key, value in settled.items() if value != defaults.get(key)}
    changed = with_defaults(config_class, change_settings(config_class, values))
    return _overrides(step.name, with_defaults(config_class, values), changed)


def _overrides(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}.{key}={scalar(value)}" for key, value in after.items() if before.get(key) != value
    ]


def start_again(prepare: Callable[[], Prepared]) -> tuple[Path, int]:
    """Start a recorded run again, checked first; return its folder and its exit code.

    Raises Back if the user does not agree to what it executes or installs.
    """
    with shown_row_progress():
        prepared = prepare()
    for line in (*prepared.disclosure.lines(), *prepared.remarks):
        print_wrapped(line)
    prepared = agreed(prepared, ask_to_start)
    install_engines(prepared)
    ready = record(prepared)
    with hold_typed_keys(), View(ready.plan.config.task) as view:
        return ready.folder, run(ready, on_event=view.event)
