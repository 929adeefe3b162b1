"""Time from `swiftbox run` to the first step of a LoRA training: `scripts/bench start`.

The job is that of `scripts/bench train`: a model of 46 million parameters, float32, batches of 8
rows. With `--against CHECKOUT` another checkout of the project runs the same job in turns. A run is
stopped at its first step. On a busy machine, processor seconds (user and system time of all
processes of the run) are more reliable than wall seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from bench_models import make_model
from bench_train import write_chats

ROOT = Path(__file__).resolve().parents[1]
ROWS = 200
POLL_S = 0.02


class FirstStep(NamedTuple):
    """What a run took until its first step."""

    wall_s: float
    processor_s: float


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--against", metavar="CHECKOUT", help="compare with it in turns")


def run(options: argparse.Namespace) -> int:
    """Compare the checkouts."""
    return compare(options.against, options.runs)


def compare(against: str | None, runs: int) -> int:
    """Measure the checkouts in turns; print medians and their ratio."""
    checkouts = [ROOT, *([Path(against).resolve()] if against else [])]
    measured: dict[Path, list[FirstStep]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_model(folder / "model")
        data = write_chats(folder / "chat.jsonl", ROWS)
        for turn in range(runs):
            for number, checkout in enumerate(checkouts):
                out = folder / f"{turn}-{number}"
                config = write_config(out, model, data)
                home = folder / f"home-{number}"  # of all turns: the token cache is warm
                measured[checkout].append(time_first_step(checkout, config, out, home))
    medians = [
        FirstStep(*(statistics.median(column) for column in zip(*measured[checkout], strict=True)))
        for checkout in checkouts
    ]
    print(f"{f'first step, median of {runs}':40}{'wall':>9}{'processor':>12}")
    for checkout, median in zip(checkouts, medians, strict=True):
        print(f"{checkout!s:40}{median.wall_s:>7.2f} s{median.processor_s:>10.2f} s")
    if against:
        wall, processor = (ours / theirs for ours, theirs in zip(*medians, strict=True))
        print(f"{'ratio':40}{wall:>8.2f}x{processor:>11.2f}x")
    return 0


def write_config(out: Path, model: Path, data: Path) -> Path:
    """Write the YAML of a run."""
    values = {
        "task": "train",
        "stage": "sft",
        "hub": "local",
        "model": str(model),
        "dataset": str(data),
        "dtype": "float32",
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "max_steps": 20,
        "save_steps": 0,
        "report_to": "none",
        "gradient_checkpointing": "false",
        "output_dir": str(out),
    }
    config = out.with_suffix(".yaml")
    config.write_text("".join(f"{key}: {value}\n" for key, value in values.items()), "utf-8")
    return config


def time_first_step(checkout: Path, config: Path, out: Path, home: Path) -> FirstStep:
    """Run until events.jsonl has a step; stop the run."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "SWIFTBOX_HOME": str(home)}
    start = time.time()
    front = subprocess.Popen(
        [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env=environment,
    )
    try:
        while (step_time := first_step_time(out)) is None:
            if front.poll() is not None:
                raise SystemExit(front.communicate()[1])
            time.sleep(POLL_S)
        return FirstStep(step_time - start, processor_seconds(front.pid))
    finally:
        stop(front)


def first_step_time(out: Path) -> float | None:
    """Return the time of the first step event, if it is written."""
    with contextlib.suppress(OSError):
        for line in (out / "events.jsonl").read_text("utf-8").splitlines():
            if '"step"' in line and (event := json.loads(line))["event"] == "step":
                return float(event["time"])
    return None


def processes_of(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, as far as they still run."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def processor_seconds(pid: int) -> float:
    """Return the user and system time of a process and its descendants."""
    total = 0.0
    for process in processes_of(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def stop(front: subprocess.Popen[str]) -> None:
    """Kill a run, which has nothing to save."""
    for process in reversed(processes_of(front.pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    front.wait()
