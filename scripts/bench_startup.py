"""--help, the menu's first paint and check: seconds over a bare interpreter."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (at least 5)")


def run(options: argparse.Namespace) -> int:
    """Time the commands of the front and a bare interpreter alternately; medians of differences."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = tiny.write_config(
            folder / "a.yaml",
            tiny.build("qwen3", folder / "model"),
            tiny.write_chats(folder / "c.jsonl", 200),
        )
        box = [sys.executable, "-m", "swiftbox"]
        cases = {
            "swiftbox --help": ([*box, "--help"], 0.05),
            "swiftbox check a.yaml": ([*box, "check", str(config)], 0.6),
        }
        print(f"{'over bare python':24}{'wall':>9}{'processor':>12}{'budget':>9}")
        for name, (command, budget) in cases.items():
            timed(command)  # writes the bytecode, as an installation does
            wall, processor = over_bare(command, max(5, options.runs))
            print(f"{name:24}{wall:7.3f} s{processor:10.3f} s{budget:7} s")
        over = statistics.median(
            first_paint() - timed([sys.executable, "-c", "pass"])[0]
            for _ in range(max(5, options.runs))
        )
        print(f"{'menu, first paint':24}{over:7.3f} s{'':12}{0.15:7} s")
    return 0


def first_paint() -> float:
    """Return the wall seconds until the home screen is painted completely."""
    import pty
    import signal

    front, back = pty.openpty()
    began = time.perf_counter()
    environment = {**surroundings(), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftbox"], stdin=back, stdout=back, stderr=back, env=environment
    )
    os.close(back)
    shown = b""
    while b"Quit" not in shown:
        shown += os.read(front, 4096)
    elapsed = time.perf_counter() - began
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(front)
    return elapsed


def over_bare(command: list[str], runs: int) -> tuple[float, float]:
    """Return the medians of wall and processor seconds over a bare interpreter."""
    differences = []
    for _ in range(runs):
        wall, processor = timed(command)
        bare_wall, bare_processor = timed([sys.executable, "-c", "pass"])
        differences.append((wall - bare_wall, processor - bare_processor))
    walls, processors = zip(*differences, strict=True)
    return statistics.median(walls), statistics.median(processors)


def surroundings() -> dict[str, str]:
    """Return the environment of a user: English, with bytecode on the disk."""
    environment = {**os.environ, "SWIFTBOX_LANG": "en"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def timed(command: list[str]) -> tuple[float, float]:
    """Return the wall and processor seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, capture_output=True, check=False, env=surroundings())
    after, elapsed = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
