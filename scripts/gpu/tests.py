"""The tests marked gpu, on the device; on a CPU those that it can run."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from gpu.figures import Recorder
from gpu.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
RESULT = re.compile(r"::.* (PASSED|FAILED|SKIPPED|ERROR)\b")
QUICK = "communication"
"""The test of a run with tiny shapes: one that trains no model."""


def measure(recorder: Recorder, settings: Settings) -> None:
    """Run the tests with this Python until the time is over; record how many passed."""
    if importlib.util.find_spec("pytest") is None:
        recorder.record("gpu tests", None, note="not run: pytest is not installed")
        return
    log = settings.folder / "gpu-tests.log"
    ending = run(log, settings)
    content = log.read_text("utf-8", "replace")
    counts = Counter(RESULT.findall(content))
    raw = {"log": content[-6000:], "exit_code": ending}
    note = "" if ending is not None else "the time was over before the last test"
    recorder.record("gpu tests passed", counts["PASSED"], note=note)
    recorder.record("gpu tests skipped", counts["SKIPPED"])
    broken = counts["FAILED"] + counts["ERROR"] + (ending not in (None, 0, 1))
    recorder.record("gpu tests failed", broken, target="<= 0", raw=raw)


def run(log: Path, settings: Settings) -> int | None:
    """Run pytest; return its exit code, None if the time was over."""
    variables = {"SWIFTBOX_GPU_TESTS_ON": "cpu"} if settings.device == "cpu" else {}
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-vv"]
    command += ["-m", "gpu and not slow", "tests/gpu"]
    with log.open("w", encoding="utf-8") as output, contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(
            [*command, *(["-k", QUICK] if settings.tiny else [])],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            timeout=max(1.0, settings.seconds_left() - 2),
            check=False,
        ).returncode
    return None
