"""Start, continue, repeat, follow and stop runs: YAML -> plan -> run folder -> supervised child."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import write
from swiftbox.data.check import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.devices.probe import probe, without_torch
from swiftbox.errors import RunError
from swiftbox.files import read_json, write_atomic, write_json
from swiftbox.fit.estimate import Estimate, estimate
from swiftbox.language import text
from swiftbox.launch.engine_consent import Consent, Missing, provide, refuse, require_possible
from swiftbox.launch.prepare import preflight, with_absolute_paths
from swiftbox.models.requirements import Finding
from swiftbox.plan import Plan, plan
from swiftbox.runs import folder as run_folder
from swiftbox.runs import stop as control
from swiftbox.runs.folder import Run
from swiftbox.runs.supervise import FAILED, INTERRUPTED, OnEvent, supervise
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, load, loads
from swiftbox.tasks.task import leave_the_result

if TYPE_CHECKING:  # of pipelines alone
    from swiftbox.fit.forecast import Whole

OnStart = Callable[[Path, Plan], None]

LONGEST_TAKEOVER_S = 60
"""The detached supervisor imports our front only; a minute is a disk gone away."""


@dataclass(frozen=True)
class Prepared:
    """A YAML that was read, planned and checked, not yet started."""

    loaded: Loaded
    machine: Machine
    plan: Plan
    rows: CheckedRows | None
    """What the check of the rows found; None while the dataset is not on this machine."""
    fit: Estimate | None = None
    """Memory, disk and time of a training; None where nothing is known of the model."""
    engines: tuple[Missing, ...] = ()
    """The engines that it needs and that are not installed."""
    whole: Whole | None = None
    """The same of a pipeline, step by step and together."""


def prepare(
    path: Path | None, overrides: Iterable[str] = (), *, machine: Machine | None = None
) -> Prepared:
    """Read, plan and check a YAML (or overrides alone); raise UserError for all that is wrong.

    It is planned for `machine`, without one for this one.
    """
    if path is None:
        return plan_of(loads("", source="command line", overrides=overrides), machine)
    return plan_of(load(path, overrides), machine)


def plan_of(loaded: Loaded, machine: Machine | None = None) -> Prepared:
    """Plan and check a config that was read."""
    machine = machine or _machine_for(loaded.config)
    planned = _placed(plan(loaded.config, machine))
    remarks: list[Finding] = []
    looked = preflight(planned.config, remarks.append)
    planned = replace(planned, remarks=tuple(map(str, remarks)))
    config = planned.config
    engines = require_possible(config, machine)
    if isinstance(config, PipelineConfig):
        from swiftbox.tasks.pipeline.outline import outline

        whole = outline(config, machine, looked if isinstance(looked, Mapping) else {})
        planned = replace(planned, outline=tuple(whole.lines()))
        return Prepared(loaded, machine, planned, None, whole=whole, engines=engines)
    rows = looked if isinstance(looked, CheckedRows) else None
    lengths = rows.lengths if rows is not None else None
    fit = estimate(config, machine, lengths) if isinstance(config, TrainConfig) else None
    return Prepared(loaded, machine, planned, rows, fit, engines=engines)


def _machine_for(config: TaskConfig) -> Machine:
    """Return this machine, with its devices where the task works on them."""
    tasks = {config.task}
    if isinstance(config, PipelineConfig):
        tasks = {step.config.task for step in config.steps}
    if any(TASKS[name].uses_devices for name in tasks):
        return probe(Path.cwd())
    return without_torch(Path.cwd(), "")


def _placed(planned: Plan) -> Plan:
    """Make local paths absolute: the record is resumed and repeated from any directory."""
    return replace(planned, config=with_absolute_paths(planned.config))


def start(
    path: Path | None,
    *,
    overrides: Iterable[str] = (),
    detach: bool = False,
    on_event: OnEvent | None = None,
    on_start: OnStart | None = None,
    consent: Consent = refuse,
) -> int:
    """Run a YAML, or overrides alone; return the exit code (0 at once when detached).

    `consent` is asked before an engine that the run needs is installed.
    """
    prepared = prepare(path, overrides)
    provide(prepared.plan.config, prepared.machine, consent)
    folder = make_folder(prepared)
    return _carry_out(folder, prepared.plan, detach, on_event, on_start)


def make_folder(prepared: Prepared) -> Path:
    """Make the run folder and write the record of what is about to run."""
    wanted = _folder_for(prepared.loaded.config)
    folder = _gone_on_with(wanted, prepared) or run_folder.create(wanted)
    _record(folder, prepared)
    return folder


def _gone_on_with(folder: Path, prepared: Prepared) -> Path | None:
    """Return the folder of an earlier run that goes on from what it made, None if there is none.

    Raises RunError while it still runs.
    """
    task = TASKS[prepared.plan.config.task]
    if not task.continues or not (folder / run_folder.SETTLED).is_file():
        return None
    if load(folder / run_folder.SETTLED).config.task != task.name:
        return None
    _require_idle(run_folder.find(str(folder)))
    control.forget_stop(folder)
    run_folder.register(folder)
    return folder


def resume(
    folder: Path,
    *,
    overrides: Iterable[str] = (),
    detach: bool = False,
    on_event: OnEvent | None = None,
    on_start: OnStart | None = None,
    consent: Consent = refuse,
) -> int:
    """Continue a run from its last complete checkpoint; refuse what contradicts it."""
    run = run_folder.find(str(folder))
    _require_idle(run)
    loaded = load(run.folder / run_folder.SETTLED, overrides)
    continues = TASKS[loaded.config.task].continues
    if run.status == "done" and not (continues and overrides):
        raise RunError(
            text(f"{run.name} is complete", f"{run.name} 已完成"),
            hint=f"swiftbox runs rerun {run.name}",
        )
    machine = _machine_for(loaded.config)
    planned = _placed(plan(loaded.config, machine))
    if not continues:
        contradictions(run, planned.config)
    preflight(planned.config)
    require_possible(planned.config, machine)
    provide(planned.config, machine, consent)
    control.forget_stop(run.folder)
    _write_settled(run.folder, planned)
    _begin(run.folder)
    return _carry_out(run.folder, planned, detach, on_event, on_start)


def _require_idle(run: Run) -> None:
    if run.is_active:
        raise RunError(
            text(f"{run.name} is still running", f"{run.name} 仍在运行"),
            hint=f"swiftbox runs logs {run.name} -f",
        )


def rerun(
    folder: Path,
    *,
    overrides: Iterable[str] = (),
    detach: bool = False,
    on_event: OnEvent | None = None,
    on_start: OnStart | None = None,
    consent: Consent = refuse,
) -> int:
    """Run the settled YAML of a run again, in a folder of its own."""
    run = run_folder.find(str(folder))
    prepared = prepare(run.folder / run_folder.SETTLED, overrides)
    provide(prepared.plan.config, prepared.machine, consent)
    made = run_folder.create(_folder_for(prepared.loaded.config))
    _record(made, prepared)
    return _carry_out(made, prepared.plan, detach, on_event, on_start)


def contradictions(run: Run, wanted: TaskConfig) -> None:
    """Raise RunError when a run's checkpoints were made with other settings, naming each."""
    kept = run_folder.checkpoints(run.folder)
    made_with = (kept[-1] if kept else run.folder) / run_folder.SETTLED
    before = load(made_with).config.model_dump(mode="json")
    now = wanted.model_dump(mode="json")
    leaves = leave_the_result(wanted.task)
    differing = [
        key for key in {**before, **now} if key not in leaves and before.get(key) != now.get(key)
    ]
    if not differing:
        return
    where = made_with.parent.name
    lines = [
        text(
            f"{key}: {where} was made with {before.get(key)}, now {now.get(key)} is asked for",
            f"{key}：{where} 使用 {before.get(key)}，现在要求 {now.get(key)}",
        )
        for key in differing
    ]
    raise RunError(
        "\n".join(lines),
        hint=text(
            f"resume without changing {', '.join(differing)}, or start a new run "
            f"(`swiftbox runs rerun {run.name} key=value`)",
            f"不改动 {', '.join(differing)} 再继续，或新开一次运行"
            f"（`swiftbox runs rerun {run.name} key=value`）",
        ),
    )


def stop(folder: Path, *, timeout_s: float = 0) -> bool:
    """Ask a run to save and stop; wait up to `timeout_s` for it; tell whether it has ended."""
    run = run_folder.find(str(folder))
    if not run.is_active:
        return True
    control.ask_to_stop(run.folder)
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if not run_folder.find(str(run.folder)).is_active:
            return True
        time.sleep(0.1)
    return not run_folder.find(str(run.folder)).is_active


def follow(folder: Path, on_event: OnEvent) -> int:
    """Pass on all events of a run, old and new, until it ends; return its exit code.

    Ctrl-C leaves the run alone and returns.
    """
    offset = 0
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            active = run_folder.find(str(folder)).is_active
            events, offset = run_folder.read_events(folder, offset)
            for event in events:
                on_event(event)
            if not active and not events:
                break
            if not events:
                time.sleep(0.2)
    run = run_folder.find(str(folder))
    return FAILED if run.status == "lost" else int(run.state.get("exit_code") or 0)


def _folder_for(config: TaskConfig) -> Path:
    if config.output_dir != "auto":
        return Path(config.output_dir).expanduser().resolve()
    title = TASKS[config.task].title(config)
    name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in title)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path.cwd() / "runs" / f"{stamp}-{name}"


def _record(folder: Path, prepared: Prepared) -> None:
    """Write the record of a run before anything starts."""
    asked = write(
        prepared.loaded.config,
        header=[
            text(
                "What was asked for. Run again: swiftbox run asked.yaml",
                "所求的配置。再次运行：swiftbox run asked.yaml",
            )
        ],
        keys=prepared.loaded.asked,
    )
    write_atomic(folder / run_folder.ASKED, asked)
    _write_settled(folder, prepared.plan)
    write_json(folder / run_folder.MACHINE, prepared.machine.to_dict())
    from swiftbox import __version__

    versions = {"swiftbox": __version__, **prepared.machine.versions}
    write_json(folder / run_folder.VERSIONS, versions)
    run_folder.update_state(folder, started=time.time())
    _begin(folder)


def _begin(folder: Path) -> None:
    """Say that the run starts (again), before anything does: nothing of an earlier end is left."""
    pid = os.getpid()
    run_folder.update_state(
        folder,
        status="starting",
        pid=pid,
        pid_started=run_folder.process_start(pid),
        ended=None,
        exit_code=None,
        **run_folder.supervised_by_me(),
    )


def _write_settled(folder: Path, planned: Plan) -> None:
    settled = write(
        planned.config,
        header=[
            text(
                "What was carried out: complete, nothing left to choose.",
                "实际执行的配置：完整，无需再选择。",
            ),
            text("Run again: swiftbox run settled.yaml", "再次运行：swiftbox run settled.yaml"),
        ],
        reasons={note.key: note.why for note in planned.notes},
    )
    write_atomic(folder / run_folder.SETTLED, settled)


def _carry_out(
    folder: Path,
    planned: Plan,
    detach: bool,
    on_event: OnEvent | None,
    on_start: OnStart | None,
) -> int:
    if on_start is not None:
        on_start(folder, planned)
    if not detach:
        return supervise(folder, planned.child(folder), on_event)
    with (folder / run_folder.LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "swiftbox.launch.detached", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + LONGEST_TAKEOVER_S
    while read_json(folder / run_folder.STATE).get("supervisor") != process.pid:
        if process.poll() is not None or time.monotonic() > until:
            raise RunError(
                text("the background process did not start", "后台进程未能启动"),
                hint=str(folder / run_folder.LOG),
            )
        time.sleep(0.02)
    process.returncode = INTERRUPTED  # it lives on by design: nothing here waits for it
    return 0
