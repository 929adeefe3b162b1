"""A process that a quantization starts and that dies is reported as a failure, with a hint."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swiftbox.errors import ChildError
from swiftbox.quantization.processes import ToolCommand, run_command
from swiftbox.runs.diagnosis import REFUSED, diagnose


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL", "ran out of memory"),
        ("import os; os.kill(os.getpid(), 15)", "was ended by SIGTERM", "runs resume"),
        ("raise SystemExit(3)", "ended with code 3", "runs resume"),
    ],
)
def test_a_killed_child_is_a_failure_of_the_run_and_no_wrong_request(
    script: str, message: str, hint: str, tmp_path: Path
) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(script, encoding="utf-8")
    command = ToolCommand("measure", Path(sys.executable), (str(tool),))
    with pytest.raises(ChildError, match=message) as error:
        run_command(command, {}, tmp_path / "work", lambda _event, **_fields: None)
    kind, advice = diagnose(error.value)
    assert kind != REFUSED
    assert hint in advice
