"""Run a recorded launch, attached or detached; follow and stop an active run.

`python -m swiftbox.launch.run FOLDER CHILD` is the detached supervisor: CHILD is JSON with the
number of processes, the environment that the plan gave them and the names of the secrets that they
need, so nothing is planned again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.errors import RunError
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.runs.child import child_of
from swiftbox.runs.endings import FAILED, INTERRUPTED
from swiftbox.runs.plain_files import open_plain, read_record
from swiftbox.runs.stop import request_stop
from swiftbox.runs.supervise import OnEvent, supervise
from swiftbox.security.children import child_environment, module_command

if TYPE_CHECKING:  # the detached supervisor starts without the config and the plan
    from swiftbox.launch.record import Ready

SUPERVISOR_START_S = 60
"""The detached supervisor imports no torch; a minute means that the disk is gone."""

POLL_S = 0.1


def run(ready: Ready, *, detach: bool = False, on_event: OnEvent | None = None) -> int:
    """Run a recorded launch to its end; return its exit code, 0 at once if detached."""
    if detach:
        _detach(ready)
        return 0
    return supervise(ready.folder, ready.plan.child(ready.folder), on_event)


def _detach(ready: Ready) -> None:
    """Start a supervisor in a new session; return once it has taken over the run."""
    folder = ready.folder
    child = ready.plan.child(folder)
    recorded = {
        "processes": ready.plan.processes,
        "env": dict(child.env),
        "secrets": sorted(child.secrets),  # names only: command lines are visible to all users
    }
    with open_plain(folder / run_folder.LOG, "ab") as log:
        process = subprocess.Popen(
            module_command("swiftbox.launch.run", str(folder), json.dumps(recorded)),
            env=child_environment(keep=child.secrets),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + SUPERVISOR_START_S
    while read_record(folder / run_folder.STATE).get("supervisor") != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RunError(
                text("the background process did not start", "后台进程未能启动"),
                hint=text(f"see {folder / run_folder.LOG}", f"请查看 {folder / run_folder.LOG}"),
            )
        time.sleep(0.02)
    process.returncode = INTERRUPTED  # it outlives this process by design: nothing waits for it


def stop(folder: Path, *, timeout_s: float = 0) -> bool:
    """Ask a run to save and stop, and wait up to `timeout_s`; tell whether it has ended."""
    run = run_folder.find(str(folder))
    if not run.is_active:
        return True
    request_stop(run.folder)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not run_folder.find(str(run.folder)).is_active:
            return True
        time.sleep(POLL_S)
    return not run_folder.find(str(run.folder)).is_active


def follow(folder: Path, on_event: OnEvent) -> int:
    """Pass on all events of a run, old and new, until it ends; return its exit code.

    Ctrl-C returns and leaves the run alone.
    """
    offset = 0
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            active = run_folder.find(str(folder)).is_active
            unread, offset = run_folder.read_events(folder, offset)
            for event in unread:
                on_event(event)
            if not active and not unread:
                break
            if not unread:
                time.sleep(2 * POLL_S)
    run = run_folder.find(str(folder))
    return FAILED if run.status == "lost" else int(run.state.get("exit_code") or 0)


def main() -> int:
    """Supervise the run folder named on the command line; return its exit code."""
    folder, child = Path(sys.argv[1]), json.loads(sys.argv[2])
    run_folder.update_state(folder, **run_folder.supervised_by_me())
    return supervise(folder, child_of(folder, child["processes"], child["env"], child["secrets"]))


if __name__ == "__main__":
    sys.exit(main())
