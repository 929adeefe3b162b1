"""What `--detach` leaves behind: a process that supervises a prepared run folder."""

from __future__ import annotations

import sys
from pathlib import Path

from swiftbox.devices.machine import Machine
from swiftbox.files import read_json
from swiftbox.plan import plan
from swiftbox.runs import folder as run_folder
from swiftbox.runs.supervise import supervise
from swiftbox.tasks.load import load


def main() -> int:
    """Supervise the folder that is named; return its exit code."""
    folder = Path(sys.argv[1])
    run_folder.update_state(folder, **run_folder.supervised_by_me())
    machine = Machine.from_dict(read_json(folder / run_folder.MACHINE))
    planned = plan(load(folder / run_folder.SETTLED).config, machine)
    return supervise(folder, planned.child(folder))


if __name__ == "__main__":
    sys.exit(main())
