"""Prepare a launch: read, plan and check a YAML once, before any process starts.

    prepared = prepare(Path("a.yaml"), ["learning_rate=1e-4"])  # or, with the same result type:
    prepared = prepare_loaded(draft.loaded(), previous=prepared)  # a screen that repaints
    prepared = prepare_resume(folder, ["save_steps=50"])
    prepared = prepare_rerun(folder)

    install_missing(prepared.engines, consent)  # engines/consent.py
    ready = record(prepared)  # launch/record.py: the run folder exists now
    exit_code = run(ready, on_event=view.event)  # launch/run.py, or detach=True

The review shows `plan.notes`, `remarks`, `rows`, `estimate`, `forecast` and `engines`, then passes
the same object to `record`. `prepare_loaded` returns `previous` while the config and the files
that it names are unchanged (launch/fingerprint.py says what that relies on): nothing is planned,
probed or read again. Errors are raised as UserError, all problems of a YAML at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.data.findings import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.devices.probe import probe, without_torch
from swiftbox.errors import MachineError, RunError
from swiftbox.fit.estimate import Estimate, estimate
from swiftbox.language import text
from swiftbox.launch.disclosure import Ask, Disclosure, require_agreement
from swiftbox.launch.fingerprint import Fingerprint, fingerprint
from swiftbox.launch.output_folder import continued_folder, output_folder, settled_in
from swiftbox.launch.workload import workload_of
from swiftbox.models.requirements import Remark
from swiftbox.plan import Plan, plan
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import Run
from swiftbox.runs.plain_files import require_plain_tree
from swiftbox.tasks import TASKS
from swiftbox.tasks.checks import OnRemark, ignored
from swiftbox.tasks.load import Loaded, load, loads
from swiftbox.tasks.names import name_remarks
from swiftbox.tasks.places import place_remarks
from swiftbox.tasks.task import CheckResult, result_neutral_settings

if TYPE_CHECKING:  # only some launches need engines, continue a run, or are pipelines
    from swiftbox.engines.consent import MissingEngine
    from swiftbox.fit.forecast import PipelineForecast
    from swiftbox.fit.workload import Workload
    from swiftbox.launch.extension import Extension
    from swiftbox.launch.foreign import ForeignRun

MakePlan: TypeAlias = "Callable[[Workload | None], Plan]"


@dataclass(frozen=True)
class Prepared:
    """A YAML that has been read, planned and checked, and has not started."""

    loaded: Loaded
    machine: Machine
    plan: Plan
    rows: CheckedRows | None = None
    """The result of checking the rows; None while the dataset is not on this machine."""
    estimate: Estimate | None = None
    """Memory, disk and time of a training; None if the model's shape is unknown."""
    forecast: PipelineForecast | None = None
    """Memory, disk and time of a pipeline, step by step and in total."""
    workload: Workload | None = None
    """What the plan was made for."""
    engines: tuple[MissingEngine, ...] = ()
    """The engines that the run needs and that are not installed."""
    remarks: tuple[str, ...] = ()
    """Remarks of the check that do not prevent the run."""
    files: Fingerprint | None = None
    """The state of the files when they were checked; None if it was not taken."""
    disclosure: Disclosure = field(default_factory=Disclosure)
    """What it executes, sends and writes, and what the user must agree to."""
    is_agreed: bool = False
    """Whether the user agreed to it (`agreed`)."""
    resumes: Path | None = None
    """The run folder to continue; None for a new run."""
    extends: Extension | None = None
    """What a longer training takes over from an earlier run."""
    new_folder: bool = False
    """Whether a new run folder is made even if `output_dir` has steps worth keeping."""

    @property
    def outline(self) -> tuple[str, ...]:
        """Return what each step of a pipeline does and takes, and the total."""
        return tuple(self.forecast.lines()) if self.forecast is not None else ()


def prepare(
    path: Path | None, overrides: Iterable[str] = (), *, machine: Machine | None = None
) -> Prepared:
    """Read, plan and check a YAML (or overrides alone); raise UserError with every problem.

    It is planned for `machine`, by default for this one.
    """
    if path is None:
        return prepare_loaded(loads("", source="command line", overrides=overrides), machine)
    return prepare_loaded(load(path, overrides), machine)


def prepare_loaded(
    loaded: Loaded, machine: Machine | None = None, *, previous: Prepared | None = None
) -> Prepared:
    """Plan and check a config; return `previous` if it still describes the same launch.

    In `previous` only the installed engines are looked up again, which reads one small file each.
    """
    if previous is not None and is_current(previous, loaded):
        engines = _missing_engines(previous.plan, previous.machine)
        return previous if engines == previous.engines else replace(previous, engines=engines)
    remarks = [*place_remarks(loaded.config), *name_remarks(loaded.config)]
    target = machine or machine_for(loaded.config)
    foreign = _foreign_to_continue(loaded.config)

    def make_plan(workload: Workload | None) -> Plan:
        return _planned(loaded.config, target, workload)

    return checked_launch(loaded, target, make_plan, remarks, foreign)


def _foreign_to_continue(config: TaskConfig) -> ForeignRun | None:
    """Return the earlier run in `output_dir` that would be continued, if it is not ours."""
    folder = continued_folder(config)
    if folder is None:
        return None
    from swiftbox.launch.foreign import foreign_run

    require_plain_tree(folder)
    return foreign_run(folder, resumes=True)


def is_current(prepared: Prepared, loaded: Loaded) -> bool:
    """Tell whether neither the config nor the files that it names changed since the check."""
    if (prepared.loaded.config, prepared.loaded.keys) != (loaded.config, loaded.keys):
        return False
    return prepared.files is not None and prepared.files == fingerprint(prepared.plan.config)


def agreed(prepared: Prepared, ask: Ask) -> Prepared:
    """Ask for what needs an agreement, and return what may start; raise ConfigError without it."""
    require_agreement(prepared.disclosure, ask)
    return replace(prepared, is_agreed=True)


def prepare_resume(folder: Path, overrides: Iterable[str] = ()) -> Prepared:
    """Prepare to continue a run from its last complete checkpoint.

    Raises RunError if it is running, complete, or if `overrides` contradict its checkpoints.
    """
    from swiftbox.launch.foreign import foreign_run
    from swiftbox.launch.reasons import with_first_reasons

    run = run_folder.find(str(folder))
    require_idle(run)
    require_plain_tree(run.folder)
    foreign = foreign_run(run.folder, resumes=True)
    overrides = tuple(overrides)
    loaded = settled_in(run.folder, overrides)
    continues = TASKS[loaded.config.task].continues
    if run.status == "done" and not (continues and overrides):
        raise RunError(
            text(f"{run.name} is complete", f"{run.name} 已完成"),
            hint=f"swiftbox runs rerun {run.name}",
        )
    machine = machine_for(loaded.config, run.folder)
    # The record is absolute: what is relative in it is an id, whatever folders are here now.
    plan_again = _planned if continues and overrides else plan

    def make_plan(workload: Workload | None) -> Plan:
        planned = plan_again(loaded.config, machine, workload)
        if not continues:
            require_same_settings(run, planned.config)
        return with_first_reasons(planned, run.folder, loaded.config, overrides)

    return replace(checked_launch(loaded, machine, make_plan, foreign=foreign), resumes=run.folder)


def prepare_rerun(folder: Path, overrides: Iterable[str] = ()) -> Prepared:
    """Prepare to repeat a run from its settled YAML, in a new run folder."""
    from swiftbox.launch.foreign import foreign_run
    from swiftbox.launch.reasons import with_first_reasons

    run = run_folder.find(str(folder))
    foreign = foreign_run(run.folder, resumes=False)
    overrides = tuple(overrides)
    loaded = settled_in(run.folder, overrides)
    machine = machine_for(loaded.config)

    def make_plan(workload: Workload | None) -> Plan:
        planned = _planned(loaded.config, machine, workload)
        return with_first_reasons(planned, run.folder, loaded.config, overrides)

    return replace(checked_launch(loaded, machine, make_plan, foreign=foreign), new_folder=True)


def check_config(config: TaskConfig, on_remark: OnRemark = ignored) -> CheckResult:
    """Check the files that a settled config names; raise all problems as one error.

    Remarks that do not prevent the run go to `on_remark`. Returns the result of checking the rows
    (for a pipeline, by step); None while no dataset is on this machine.
    """
    return TASKS[config.task].check(config, on_remark)


def with_absolute_paths(config: TaskConfig) -> TaskConfig:
    """Return the config with every existing local path made absolute."""
    absolute: TaskConfig = TASKS[config.task].with_absolute_paths(config)
    return absolute


def require_idle(run: Run) -> None:
    """Raise RunError while a process works on the run."""
    if run.is_active:
        raise RunError(
            text(f"{run.name} is still running", f"{run.name} 仍在运行"),
            hint=f"swiftbox runs logs {run.name} -f",
        )


def require_same_settings(run: Run, config: TaskConfig) -> None:
    """Raise RunError, naming each setting, if a run's checkpoints were made with other settings."""
    complete = run_folder.checkpoints(run.folder)
    source = complete[-1] if complete else run.folder
    before = settled_in(source).config.model_dump(mode="json")
    now = config.model_dump(mode="json")
    free = result_neutral_settings(config.task)
    if isinstance(config, TrainConfig) and config.judges_evaluations:
        free -= {"eval_steps"}
    changed = [
        key for key in {**before, **now} if key not in free and before.get(key) != now.get(key)
    ]
    if changed:
        values = {key: (before.get(key), now.get(key)) for key in changed}
        raise _changed_settings(run, source.name, values)


def _changed_settings(
    run: Run, source: str, changes: Mapping[str, tuple[object, object]]
) -> RunError:
    """Describe the settings that a resumed run may not change."""
    lines = [
        text(
            f"{key}: {source} was made with {before}, now {now} is requested",
            f"{key}：{source} 使用 {before}，现在要求 {now}",
        )
        for key, (before, now) in changes.items()
    ]
    names = ", ".join(changes)
    return RunError(
        "\n".join(lines),
        hint=text(
            f"resume without changing {names}, or start a new run "
            f"(`swiftbox runs rerun {run.name} key=value`)",
            f"不改动 {names} 再继续，或新开一次运行（`swiftbox runs rerun {run.name} key=value`）",
        ),
    )


def machine_for(config: TaskConfig, folder: Path | None = None) -> Machine:
    """Return this machine, with its devices if the task uses them, and the disk of the run folder.

    `folder` is that of a run that is continued.
    """
    if folder is None:
        folder = Path.cwd() / "runs" if config.output_dir == "auto" else output_folder(config)
    tasks = {config.task}
    if isinstance(config, PipelineConfig):
        tasks = {step.config.task for step in config.steps}
    if any(TASKS[name].uses_devices for name in tasks):
        return probe(folder)
    return without_torch(folder, "")


def _planned(config: TaskConfig, machine: Machine, workload: Workload | None) -> Plan:
    """Plan with absolute paths: a run is resumed and repeated from any directory."""
    planned = plan(config, machine, workload)
    return replace(planned, config=with_absolute_paths(planned.config))


def _missing_engines(
    planned: Plan, machine: Machine, *, installable: bool = False
) -> tuple[MissingEngine, ...]:
    """Return the engines of a plan that are not installed.

    With `installable`, raises MachineError for one that cannot be installed here.
    """
    names: tuple[str, ...] = TASKS[planned.config.task].engines(planned.config, machine)
    if not names:
        return ()
    from swiftbox.engines.consent import missing_engines, require_engines_installable

    missing = require_engines_installable if installable else missing_engines
    return missing(names, machine.backend)


def offered_engines(prepared: Prepared) -> tuple[MissingEngine, ...]:
    """Return the engines that a new run would use if they were installed, where that is possible.

    Without them it uses what its plan says.
    """
    if prepared.resumes is not None:
        return ()
    config, machine = prepared.loaded.config, prepared.machine
    names: tuple[str, ...] = TASKS[config.task].offers(config, machine)
    if not names:
        return ()
    from swiftbox.engines.consent import require_engines_installable

    try:
        return require_engines_installable(names, machine.backend)
    except MachineError:  # no room on the disk, for example
        return ()


def checked_launch(
    loaded: Loaded,
    machine: Machine,
    make_plan: MakePlan,
    earlier_remarks: Iterable[Remark] = (),
    foreign: ForeignRun | None = None,
) -> Prepared:
    """Check the files of a plan, its engines, and whether it fits.

    The check finds the workload, with which the plan is made again: that one is final.
    """
    config = make_plan(None).config
    files = fingerprint(config)  # before the check, so that a change during it is noticed
    remarks = list(earlier_remarks)
    checked = check_config(config, remarks.append)
    workload = workload_of(config, machine, checked)
    planned = make_plan(workload)
    config = planned.config
    prepared = Prepared(
        loaded,
        machine,
        planned,
        workload=workload,
        engines=_missing_engines(planned, machine, installable=True),
        remarks=tuple(map(str, remarks)),
        files=files,
        disclosure=Disclosure(TASKS[config.task].effects(config), loaded.typed, foreign),
    )
    if isinstance(config, PipelineConfig):
        from swiftbox.tasks.pipeline.outline import outline

        by_step = checked if isinstance(checked, Mapping) else {}
        return replace(prepared, forecast=outline(config, machine, by_step))
    rows = checked if isinstance(checked, CheckedRows) else None
    lengths = rows.lengths if rows is not None else None
    if not isinstance(config, TrainConfig) or workload.model is None:
        return replace(prepared, rows=rows)
    estimated = estimate(config, machine, lengths, workload.model, workload.learned)
    return replace(prepared, rows=rows, estimate=estimated)
