"""Record a prepared launch: create its run folder and write its plan."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import write
from swiftbox.files import write_atomic, write_json
from swiftbox.language import text
from swiftbox.launch.disclosure import refuse, require_agreement
from swiftbox.launch.output_folder import continued_folder, output_folder
from swiftbox.launch.prepare import Prepared, require_idle
from swiftbox.plan import Plan
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create, discard_unfinished, sweep_home
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import clear_stop_request
from swiftbox.security.origin import signed_json, signed_yaml
from swiftbox.security.private import tighten
from swiftbox.tasks import TASKS
from swiftbox.tasks.learned_memory import estimate_record


@dataclass(frozen=True)
class Ready:
    """A run whose folder is complete and whose process has not started."""

    folder: Path
    prepared: Prepared

    @property
    def plan(self) -> Plan:
        """Return the plan of the run."""
        return self.prepared.plan


def record(prepared: Prepared) -> Ready:
    """Write the record of a launch into its run folder; raise RunError if that one is running.

    First checks again what other programs may have changed since the review (a port, room on a
    disk), and that the user agreed to what needs it; raises UserError. A new run gets a new folder.
    A resumed run keeps its folder, and so does a task that continues the finished steps in its
    `output_dir`.
    """
    config = prepared.plan.config
    TASKS[config.task].check_availability(config)
    if not prepared.is_agreed:
        require_agreement(prepared.disclosure, refuse)
    sweep_home()
    folder = prepared.resumes
    if folder is None and not prepared.new_folder:
        folder = continued_folder(prepared.loaded.config)
    if folder is None:
        folder = create(output_folder(prepared.loaded.config), lambda new: _fill(new, prepared))
        return Ready(folder, prepared)
    # Two starts at once: the second one must not write into the folder of the first.
    with run_folder.run_lock(folder):
        require_idle(run_folder.find(str(folder)))
        _continue_in(folder, prepared)
    return Ready(folder, prepared)


def _continue_in(folder: Path, prepared: Prepared) -> None:
    """Write the record of a launch over that of an earlier one, which has ended."""
    run_folder.register(folder)
    close_to_others(folder)
    discard_unfinished(folder)
    clear_stop_request(folder)
    if prepared.resumes is None:
        _write_request(folder, prepared)
    _write_estimate(folder, prepared)
    _write_settled(folder, prepared.plan)
    _sign_steps(folder)
    _mark_starting(folder, **({} if prepared.resumes else {"started": time.time()}))


def _fill(folder: Path, prepared: Prepared) -> None:
    """Write all first files of a new run; the state last, which makes the folder a run."""
    _write_request(folder, prepared)
    _write_estimate(folder, prepared)
    _write_settled(folder, prepared.plan)
    if prepared.extends is not None:
        prepared.extends.copy_to(folder)
    _mark_starting(folder, started=time.time())


def close_to_others(folder: Path) -> None:
    """Close a run folder of an earlier version to other users, and say so."""
    if tighten(folder):
        message = text(
            "the run folder was open to other users of this machine; it is closed now (mode 700)",
            "运行目录此前对本机其他用户开放，现已改为仅自己可访问（权限 700）",
        )
        run_folder.append_event(folder, events.NOTE, message=message)


def _write_request(folder: Path, prepared: Prepared) -> None:
    """Write the requested config of a new run, the machine and the versions."""
    header = text(
        "The settings as requested. Run again: swiftbox run asked.yaml",
        "请求的配置。再次运行：swiftbox run asked.yaml",
    )
    request = write(prepared.loaded.config, header=[header], keys=prepared.loaded.keys)
    write_atomic(folder / run_folder.ASKED, request)
    write_json(folder / run_folder.MACHINE, prepared.machine.to_dict())
    from swiftbox import __version__

    versions = {"swiftbox": __version__, **prepared.machine.versions}
    write_json(folder / run_folder.VERSIONS, versions)


def _write_estimate(folder: Path, prepared: Prepared) -> None:
    """Write the estimated memory of a training, which its run is compared with."""
    config, workload = prepared.plan.config, prepared.workload
    if prepared.estimate is None or workload is None or not isinstance(config, TrainConfig):
        return
    if workload.model is not None:
        verdict, shape = prepared.estimate.verdict, workload.model.shape
        content = estimate_record(config, shape, prepared.machine, verdict)
        write_json(folder / run_folder.ESTIMATE, content)


def _write_settled(folder: Path, planned: Plan) -> None:
    """Write the complete config, each decision with its reason."""
    header = [
        text(
            "The complete settings of this run, with no choice left open.",
            "本次运行的完整配置，无需再选择。",
        ),
        text("Run again: swiftbox run settled.yaml", "再次运行：swiftbox run settled.yaml"),
    ]
    reasons = {note.key: note.why for note in planned.notes}
    settled = write(planned.config, header=header, reasons=reasons)
    write_json(folder / run_folder.REASONS, reasons)
    write_atomic(folder / run_folder.SETTLED, signed_yaml(run_folder.SETTLED, settled))


def _sign_steps(folder: Path) -> None:
    """Take over the steps of a pipeline that the user agreed to continue."""
    path = folder / run_folder.PIPELINE
    if os.path.lexists(path):
        write_json(path, signed_json(run_folder.PIPELINE, read_record(path)))


def _mark_starting(folder: Path, **changes: Any) -> None:
    """Mark the run as starting under this process, and clear its earlier ending."""
    pid = os.getpid()
    run_folder.update_state(
        folder,
        status="starting",
        pid=pid,
        pid_started=run_folder.process_start(pid),
        ended=None,
        exit_code=None,
        **run_folder.supervised_by_me(),
        **changes,
    )
