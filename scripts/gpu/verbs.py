"""Other verbs of scripts/bench on the device: the tables of less-work and decode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gpu.figures import Recorder
from gpu.settings import Settings

BENCH = Path(__file__).resolve().parents[1] / "bench"


def measure(recorder: Recorder, settings: Settings) -> None:
    """Run each verb at sizes that keep a device busy; record the lines of its table."""
    sizes = ["--hidden", "64", "--layers", "1", "--tokens", "64", "--runs", "1"]
    decode = ["--runs", "1"]
    if settings.device != "cpu":
        sizes = ["--hidden", "4096", "--layers", "8", "--tokens", "4096", "--runs", "5"]
        decode += ["--device", settings.device, "--dtype", settings.dtype]
    record(recorder, settings, ["less-work", *sizes])
    if not settings.tiny:  # on a CPU it takes longer than all other parts
        record(recorder, settings, ["decode", *decode])


def record(recorder: Recorder, settings: Settings, arguments: list[str]) -> None:
    """Record every line that a verb prints; its last error if it fails."""
    verb = arguments[0]
    try:
        done = subprocess.run(
            [sys.executable, str(BENCH), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, settings.seconds_left() - 2),
        )
    except subprocess.TimeoutExpired:
        recorder.record(verb, None, note="the time was over")
        return
    for line in done.stdout.splitlines():
        recorder.record(verb, "", note=line.rstrip())
    if done.returncode:
        recorder.record(verb, None, note=done.stderr[-300:], raw={"stderr": done.stderr[-3000:]})
