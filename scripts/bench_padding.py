"""Padding-free and padded batches of short chats: rows per second and peak memory."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_models import make_model
from bench_train import write_chats

STEPS_TO_WARM_UP = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--batch", type=int, default=8, help="rows per batch (default 8)")
    parser.add_argument("--tuner", choices=("lora", "full"), default="lora")


def run(options: argparse.Namespace) -> int:
    """Train the same rows with both layouts alternately, through `swiftbox run`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_model(folder / "model")
        data = write_chats(folder / "chat.jsonl", 400)
        results: dict[str, list[dict[str, float]]] = {"false": [], "true": []}
        for turn in range(options.runs):
            for padding_free, runs in results.items():
                out = folder / f"{padding_free}-{turn}"
                runs.append(measure(out, model, data, padding_free, options))
    rows, peak, grown = (
        {key: statistics.median(run[name] for run in runs) for key, runs in results.items()}
        for name in ("rows_per_s", "peak_bytes", "grown_bytes")
    )
    print(
        f"{'':14}{'rows/s':>10}{'peak memory':>16}{'of it training':>17}"
        f"   (median of {options.runs})"
    )
    for key, name in (("false", "padded"), ("true", "padding-free")):
        print(
            f"{name:14}{rows[key]:>10.2f}{peak[key] / 2**20:>12.0f} MiB"
            f"{grown[key] / 2**20:>13.0f} MiB"
        )
    print(
        f"{'ratio':14}{rows['true'] / rows['false']:>9.2f}x{peak['true'] / peak['false']:>15.2f}x"
        f"{grown['true'] / grown['false']:>16.2f}x"
    )
    return 0


def measure(
    run: Path, model: Path, data: Path, padding_free: str, options: argparse.Namespace
) -> dict[str, float]:
    """Run one training; return rows per second and the peak of its memory."""
    config = run.with_suffix(".yaml")
    values = {
        "task": "train",
        "stage": "sft",
        "hub": "local",
        "model": str(model),
        "dataset": str(data),
        "tuner_type": options.tuner,
        "padding_free": padding_free,
        "dtype": "float32",
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": 1,
        "max_steps": 25,
        "max_length": 1024,
        "save_steps": 0,
        "report_to": "none",
        "gradient_checkpointing": "false",
        "output_dir": str(run),
    }
    config.write_text("".join(f"{key}: {value}\n" for key, value in values.items()), "utf-8")
    command = [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise SystemExit(child.stderr)
    return rates(run, options.batch)


def rates(run: Path, batch_size: int) -> dict[str, float]:
    """Return rows per second after the warm-up, and peak memory, from the events of a run."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    before = next(event for event in events if event["event"] == "start")["memory_bytes"]
    elapsed = steps[-1]["time"] - steps[STEPS_TO_WARM_UP - 1]["time"]
    peak = max(step["memory_bytes"] for step in steps)
    return {
        "rows_per_s": batch_size * (len(steps) - STEPS_TO_WARM_UP) / elapsed,
        "peak_bytes": peak,
        "grown_bytes": peak - before,
    }
