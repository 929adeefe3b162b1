"""Everything that only an accelerator shows, in one command and one JSON: `scripts/bench gpu`.

Needs an accelerator and its torch, and swiftbox's packages, installed or on PYTHONPATH; trl to
compare with TRL, pytest to run the tests, bitsandbytes for QLoRA. flash-attn and liger-kernel are
used where installed. Needs no network: models of real shapes are made at random on the device.
Needs about 40 GiB in --folder.

Each part runs in its own process with a time limit; parts are in the order of what they are worth:
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from gpu.figures import Figure, read_figures, table
from gpu.parts import ELSEWHERE, PARTS
from gpu.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CHECKS = range(1, 26)
PACKAGES = (
    "torch transformers peft accelerate trl bitsandbytes liger-kernel flash-attn datasets triton"
).split()
LONGEST_TINY_S = 180.0
"""Two calm cores need less; on a busy machine the table says what did not run."""

USUAL_MINUTES = 8.0
"""The limits of the parts are for so long; more or less time scales them."""

GRACE_S = 4.0
"""The time for a part to record that its time is over."""

LEAST_S = 8.0
"""A part that would get less time than torch takes to import is not started."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    lines = [f"  {name:10}{part.limit_s:5.0f} s  {part.summary}" for name, part in PARTS.items()]
    parser.description = "\n".join([__doc__ or "", *lines])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; repeatable")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU, every part")
    parser.add_argument(
        "--minutes", type=float, default=USUAL_MINUTES, help="time for all parts (8)"
    )
    parser.add_argument("--json", type=Path, default=Path("bench-gpu.json"), help="where to write")
    parser.add_argument("--folder", type=Path, help="scratch folder on a fast disk")


def run(options: argparse.Namespace) -> int:
    """Run the parts; write the JSON after each and the table at the end."""
    if not options.tiny and not has_accelerator():
        print(
            "no accelerator: torch finds none; --tiny runs every part on the CPU", file=sys.stderr
        )
        return 2
    selected = {"OMP_NUM_THREADS": "1"} if options.tiny else emptiest_device()
    began = time.time()
    budget = LONGEST_TINY_S if options.tiny else 60 * options.minutes
    figures: list[Figure] = []
    parts: dict[str, dict[str, Any]] = {}

    def measured(name: str) -> tuple[str, list[Figure], dict[str, Any]]:
        left = began + budget - time.time()
        share = PARTS[name].limit_s * options.minutes / USUAL_MINUTES
        limit = min(left, budget if options.part or options.tiny else share)
        folder = Path(temporary) / name if options.tiny else Path(temporary)
        folder.mkdir(exist_ok=True)
        settings = Settings(folder, options.tiny, time.time() + limit)
        variables = {} if name == "tests" else selected  # they select for themselves
        return name, *run_part(name, settings, variables)

    # Tiny figures are no measurement, so parts may share the processor; on a device they may not.
    at_once = min(4, os.cpu_count() or 1) if options.tiny else 1
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="swiftbox-bench-") as temporary,
        ThreadPoolExecutor(at_once) as pool,
    ):
        for name, new, ending in pool.map(measured, options.part or PARTS):
            parts[name] = ending
            figures += new
            write(options.json, figures, parts, began)
            print(f"{name}: {ending['seconds']} s, {ending['outcome']}", file=sys.stderr)
    if options.tiny:
        print("tiny shapes on the CPU: its figures say nothing about speed\n")
    print(table([*figures, *not_run(parts)]))
    missed = [figure for figure in figures if figure.verdict == "MISSED"]
    print(f"\n{len(figures)} figures, {len(missed)} miss their target; raw: {options.json}")
    return 1 if any("failed" in part["outcome"] for part in parts.values()) else 0


def has_accelerator() -> bool:
    """Ask torch in a child process: this one never opens the device."""
    code = "import sys, torch; sys.exit(not torch.accelerator.is_available())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def emptiest_device() -> Mapping[str, str]:
    """Return the variable that leaves one of several devices visible."""
    from swiftbox.devices.probe import probe
    from swiftbox.devices.selection import device_selection

    return device_selection(probe(ROOT), 1)


def run_part(
    name: str, settings: Settings, variables: Mapping[str, str]
) -> tuple[list[Figure], dict[str, Any]]:
    """Run a part in its process group; return its figures and how it ended."""
    began, limit = time.time(), settings.seconds_left()
    if limit < LEAST_S:
        return [], {"seconds": 0, "outcome": "not run: no time left"}
    path, log = settings.folder / f"{name}.jsonl", settings.folder / f"{name}.log"
    command = [
        sys.executable,
        str(ROOT / "scripts/gpu/child.py"),
        name,
        settings.to_json(),
        str(path),
    ]
    search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables, "PYTHONPATH": search_path, "SWIFTBOX_LANG": "en"},
            start_new_session=True,
        )
        try:
            code = process.wait(limit + GRACE_S)
            outcome = "ok" if code == 0 else f"failed with {code}"
        except subprocess.TimeoutExpired:
            outcome = "stopped: its time was over"
        end_group(process)
    ending: dict[str, Any] = {"seconds": round(time.time() - began, 1), "outcome": outcome}
    if outcome != "ok":
        ending["log"] = log.read_text("utf-8", "replace")[-3000:]
    return read_figures(path), ending


def children_s() -> float:
    """Return the processor seconds of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what a part has started; its memory on the device is free for the next one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for descendant in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.kill()  # runs and servers have groups that the part does not lead
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def not_run(parts: dict[str, dict[str, Any]]) -> Iterable[Figure]:
    """Yield a line of the table for each part that did not end well."""
    for name, part in parts.items():
        if part["outcome"] != "ok":
            yield Figure(name, "the part", None, note=part["outcome"])


def write(
    path: Path, figures: list[Figure], parts: dict[str, dict[str, Any]], began: float
) -> None:
    """Write everything that is known so far."""
    content = {
        "began": began,
        "seconds": round(time.time() - began, 1),
        "processor_s": round(children_s(), 1),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
        "parts": parts,
        "checks": {
            number: [figure.name for figure in figures if figure.check == number]
            or [ELSEWHERE.get(number, "not run")]
            for number in CHECKS
        },
        "figures": [figure.to_dict() for figure in figures],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def version(name: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """Return the commit of this checkout; empty outside of git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
