"""Loading: through host memory against straight to the device; the time to the first step."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from bench_start import first_step_time, stop

from gpu.figures import Recorder
from gpu.models import model_folder
from gpu.our_side import write_config
from gpu.settings import Settings
from gpu.timing import free_memory, synchronize
from gpu.training_jobs import job

POLL_S = 0.02


def measure(recorder: Recorder, settings: Settings) -> None:
    """Record times and host memory of loading, then the first step of an 8B LoRA."""
    size = "8B"
    folder = model_folder(size, settings)
    seconds = yaml.safe_load((folder / "written.json").read_text("utf-8"))["seconds"]
    recorder.record(f"{size} made and written", seconds, "s")
    record_first_step(recorder, settings, size)
    record_loads(recorder, settings, folder)


def record_loads(recorder: Recorder, settings: Settings, folder: Path) -> None:
    """Record our loader and the two ways of transformers."""
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, settings.dtype)

    def straight() -> Any:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, device_map={"": settings.device}
        )

    def through_host() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(settings.device)

    for name, load, limit in (
        ("by us, NF4", partial(ours, settings, "qlora"), "<= 8"),
        ("by us", partial(ours, settings, "lora"), "<= 2"),
        ("by transformers to the device", straight, ""),
        ("by transformers through host memory", through_host, ""),
    ):
        elapsed, host = watched(load, settings)
        target = limit if settings.device != "cpu" else ""
        recorder.record(f"8B loaded {name}", elapsed, "s", check=17)
        recorder.record(f"8B loaded {name}, host memory", host / 2**30, "GiB", target=target)


def ours(settings: Settings, tuner: str) -> Any:
    """Load the base of a training as a run does: each tensor to the device, quantized there."""
    from swiftbox.core.weights.load import load_trainable
    from swiftbox.launch.prepare import prepare

    training = job("8B", tuner, "2048", tiny=settings.tiny)
    config = prepare(
        write_config(training, settings, settings.folder / f"load-{tuner}")
    ).plan.config
    return load_trainable(Path(config.model), config, device=torch.device(settings.device))


def watched(load: Callable[[], Any], settings: Settings) -> tuple[float, int]:
    """Return the seconds of `load`, and by how much the private memory of the process grew."""
    process, peak, finished = psutil.Process(), [0], threading.Event()

    def private() -> int:
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))

    def sample() -> None:
        while not finished.wait(POLL_S):
            peak[0] = max(peak[0], private())

    before = private()
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    began = time.perf_counter()
    model = load()
    synchronize(settings.device)
    elapsed = time.perf_counter() - began
    finished.set()
    thread.join()
    del model
    free_memory(settings.device)
    return elapsed, max(0, peak[0] - before)


def record_first_step(recorder: Recorder, settings: Settings, size: str) -> None:
    """Start `swiftbox run` in a new process, as a user does, and wait for its first step."""
    training = job(size, "lora", "2048", tiny=settings.tiny)
    out = settings.folder / "first-step"
    config = write_config(training, settings, out)
    began = time.time()
    front = subprocess.Popen(
        [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SWIFTBOX_HOME": str(settings.folder / "home")},
    )
    name = f"{size} LoRA, start of the command to the first step"
    try:
        while (step_time := first_step_time(out)) is None:
            if front.poll() is not None:
                assert front.stderr is not None
                recorder.record(name, None, "s", note=front.stderr.read()[-300:])
                return
            time.sleep(POLL_S)
    finally:
        stop(front)
    target = "<= 15" if settings.device != "cpu" else ""
    recorder.record(name, step_time - began, "s", target=target)
