"""A start that is killed at any of its writes leaves a run in the list, or no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import write_chats, write_config

from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
from swiftbox.runs.folder import runs

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
prepared = prepare(Path(sys.argv[1]))
left = int(sys.argv[2])
def count(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = count
record(prepared)
"""
"""Records a run and is killed when it writes for the given time."""


@pytest.mark.parametrize("write", range(1, 9))
def test_a_start_killed_at_any_write_leaves_a_run_or_nothing(
    write: int, tmp_path: Path, tiny: Path
) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 8)
    place = tmp_path / "place"
    path = write_config(tmp_path / "a.yaml", tiny, data, output_dir=str(place / "run"))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(path), str(write)], check=False, env=dict(os.environ)
    )
    listed = [run.folder for run in runs()]
    assert listed == ([place / "run"] if killed.returncode == 0 else [])
    assert record(prepare(path)).folder == place / ("run-2" if listed else "run")
    names = sorted(path.name for path in place.iterdir())
    assert names == (["run", "run-2"] if listed else ["run"])
