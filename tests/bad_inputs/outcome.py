"""Run a bad input as a user does, and tell what is wrong with the answer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn
from unittest.mock import patch

from asked_here import share_answers
from template_trials import remember_template

from bad_inputs.case import BadInput, write_files, write_surroundings
from swiftbox.cli.main import main

LIMIT_S = 10.0
"""Processor time that an answer may take."""

HANG_S = 60
"""Wall time after which a command hangs, on the busiest machine."""

LARGE_BYTES = 2**24

LABELS = ("error: ", "hint: ", "note: ")


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    output: str
    error: str
    processor_s: float
    changed: tuple[str, ...]
    """Paths of the user that are not what they were before."""


class HangError(BaseException):
    """The command did not answer in time; no handler of the command may catch it."""


def outcome_of(case: BadInput, folder: Path) -> Outcome:
    """Run a case in a new folder; return what it answered and changed there."""
    work, home = folder / "work", folder / "home"
    work.mkdir(parents=True)
    home.mkdir()
    write_surroundings(work)
    write_files(case, work)
    before = tree(folder)
    if case.in_child or case.environment or case.command:
        code, output, error, seconds = _in_child(case, work, home)
    else:
        code, output, error, seconds = _in_process(case, work, home)
    after = tree(folder)
    changed = tuple(path for path in {**before, **after} if before.get(path) != after.get(path))
    return Outcome(code, output, error, seconds, changed)


def defects(case: BadInput, outcome: Outcome) -> list[str]:
    """Return what is wrong with an answer; empty if the input was refused well."""
    answer = outcome.output + outcome.error
    wrong = {
        f"exit code {outcome.code} instead of {case.code}": outcome.code != case.code,
        "a traceback": "Traceback (most recent call last)" in answer,
        "no error": case.code != 0 and "error: " not in answer and '"error"' not in answer,
        "no hint": case.code != 0
        and case.needs_hint
        and "hint: " not in answer
        and '"hint": "' not in answer,
        f"does not say {case.expected!r}": case.expected not in answer,
        "a note without its text": case.code == 0 and not case.expected,
        f"took {outcome.processor_s:.1f} s": outcome.processor_s > LIMIT_S,
        f"changed {', '.join(outcome.changed)}": bool(outcome.changed),
    }
    return [defect for defect, applies in wrong.items() if applies]


def tree(folder: Path) -> dict[str, str]:
    """Return every path below a folder with its kind and content; the state folder is left out."""
    entries: dict[str, str] = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".swiftbox", "__pycache__")]
        for name in (*folders, *files):
            path = Path(root, name)
            entries[str(path.relative_to(folder))] = _content(path)
    return entries


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if not path.is_file():
        return f"mode {path.lstat().st_mode:o}"
    status = path.stat()
    if status.st_size > LARGE_BYTES:  # a sparse file of a gigabyte
        return f"{status.st_size} {status.st_mtime_ns}"
    with contextlib.suppress(OSError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "unreadable"


def _in_process(case: BadInput, work: Path, home: Path) -> tuple[int, str, str, float]:
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    error = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    begins = time.process_time()
    variables = {"HOME": str(home), "SWIFTBOX_HOME": str(home / ".swiftbox")}
    share_answers(home / ".swiftbox", Path(os.environ["SWIFTBOX_HOME"]))
    remember_template(home / ".swiftbox")
    with (
        patch.dict(os.environ, variables),
        patch.object(sys, "stdout", output),
        patch.object(sys, "stderr", error),
        patch.object(sys, "stdin", io.StringIO()),
        contextlib.chdir(work),
        _deadline(),
    ):
        try:
            code = main(case.arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        output.flush()
        error.flush()
    seconds = time.process_time() - begins
    return code, _text_of(output), _text_of(error), seconds


def _text_of(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(errors="replace")


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def hang(_number: int, _frame: FrameType | None) -> NoReturn:
        raise HangError

    previous = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _in_child(case: BadInput, work: Path, home: Path) -> tuple[int, str, str, float]:
    command = [sys.executable, "-m", "swiftbox", *case.arguments]
    if case.command:
        line = case.command.replace("swiftbox", shlex.join(command[:3]))
        command = ["/bin/sh", "-c", line]
    variables = {**os.environ, "HOME": str(home), "SWIFTBOX_HOME": str(home / ".swiftbox")}
    for name, value in case.environment.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value.replace("{work}", str(work)).replace("{home}", str(home))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        command,
        cwd=work,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=HANG_S,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    output, error = (stream.decode(errors="replace") for stream in (ended.stdout, ended.stderr))
    return ended.returncode, output, error, seconds
