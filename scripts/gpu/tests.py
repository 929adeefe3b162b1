"""The tests marked gpu, on the device; on a CPU those that it can run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from gpu.figures import Recorder
from gpu.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


def measure(recorder: Recorder, settings: Settings) -> None:
    """Run the tests with this Python; record how many passed."""
    if importlib.util.find_spec("pytest") is None:
        recorder.record("gpu tests", None, note="not run: pytest is not installed")
        return
    variables = {"SWIFTBOX_GPU_TESTS_ON": "cpu"} if settings.device == "cpu" else {}
    log = settings.folder / "gpu-tests.log"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "gpu", "tests/gpu"]
    if importlib.util.find_spec("xdist") is None:
        command.remove("-n")
        command.remove("0")
    selected = ["-k", "dtype"] if settings.tiny else []
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(
            [*command, *selected],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            check=False,
        ).returncode
    content = log.read_text("utf-8")
    counts = {word: int(number) for number, word in COUNTS.findall(content)}
    failed = counts.get("failed", 0) + counts.get("error", 0) + (code not in (0, 1))
    details = {"log": content[-4000:], "exit_code": code}
    recorder.record("gpu tests passed", counts.get("passed", 0))
    recorder.record("gpu tests skipped", counts.get("skipped", 0))
    recorder.record("gpu tests failed", failed, target="<= 0", raw=details)
