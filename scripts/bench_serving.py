"""The built-in server, batched generate and llama.cpp with the same model: `scripts/bench serving`.

All sides have the same weights in the same number type, the same prompts, the same number of new
tokens and the same threads, and answer in turns. llama.cpp is measured where its engine is
installed: in the home that SWIFTBOX_ENGINES names, or in the usual one. Parts:

  throughput    tokens/s, first token and processor time with 1 and 8 clients
  long-prompts  a short request beside two prompts of 4 MB, and beside two of 6,000 tokens

Wall time says little on a busy machine; processor time per token is more reliable there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import bench_long_prompts
from bench_gpu import commit, version
from gpu.figures import Recorder, read_figures, table
from serving_sides import (
    Answers,
    Generate,
    Served,
    Side,
    builtin,
    convert,
    llama_cpp,
    llama_executable,
)

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("throughput", "long-prompts")
CLIENTS = (1, 8)
LONG_CONTEXT = 65_536
"""Positions that the model is served with: 4 MB are more tokens, which must be counted."""

PACKAGES = ("torch", "transformers", "tokenizers", "fastapi", "uvicorn")
IDLE_LOAD = 0.5
"""Above this load before the start, a warning says that others use the processor."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; repeatable")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens an answer (default 64)")
    parser.add_argument("--model", type=Path, help="a folder (default: SmolLM2 of the tests)")
    parser.add_argument("--dtype", default="float32", help="number type (default float32)")
    parser.add_argument("--threads", type=int, default=cores(), help="threads of each side")
    parser.add_argument("--json", type=Path, default=Path("bench-serving.json"), help="raw figures")


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(options: argparse.Namespace) -> int:
    """Measure the parts; write the JSON and print the table."""
    began, load = time.time(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="swiftbox-bench-") as temporary:
        record = Path(temporary) / "figures.jsonl"
        job = Job(options, Path(temporary), served_copy(options.model, Path(temporary)))
        measure(job, record)
        figures = read_figures(record)
    content = {
        "began": began,
        "seconds": round(time.time() - began, 1),
        "load_before": load,
        "threads": options.threads,
        "dtype": options.dtype,
        "commit": commit(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
        "figures": [figure.to_dict() for figure in figures],
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(table(figures))
    print(f"\n{options.dtype}, {options.threads} thread(s); raw: {options.json}")
    if load > IDLE_LOAD:
        print(f"the load was {load:.1f} before the start: others share the processor, wall times")
        print("and what follows from them are not to be trusted")
    return 0


@dataclass(frozen=True)
class Job:
    """What is measured: options, a scratch folder, and the model."""

    options: argparse.Namespace
    folder: Path
    model: Path

    def does(self, part: str) -> bool:
        """Return whether a part is measured."""
        return not self.options.part or part in self.options.part


def served_copy(model: Path | None, folder: Path) -> Path:
    """Return the model with more positions in its config; the weights are links."""
    if model is None:
        from smollm2 import smollm2_folder

        model = smollm2_folder()
    copy = folder / "model"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text("utf-8"))
    config["max_position_embeddings"] = LONG_CONTEXT
    (copy / "config.json").unlink()
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    return copy


def measure(job: Job, record: Path) -> None:
    """Start the sides that the parts need; record their figures."""
    options = job.options
    with contextlib.ExitStack() as stack:
        settings = (job.model, options.dtype, options.threads)
        server = stack.enter_context(builtin(job.folder / "builtin", *settings))
        if job.does("throughput"):
            sides: dict[str, Side] = {"generate": Generate(*settings), "builtin": server}
            recorder = Recorder("speed", record)
            if llama := _llama_cpp(job, stack):
                sides["llama.cpp"] = llama
            else:
                recorder.record("llama.cpp", None, note="its engine is not installed")
            throughput(recorder, sides, options)
        if job.does("long-prompts"):
            bench_long_prompts.measure(Recorder("long", record), server, job.model, options.runs)


def _llama_cpp(job: Job, stack: contextlib.ExitStack) -> Served | None:
    executable = llama_executable()
    if executable is None:
        return None
    file = convert(job.model, job.options.dtype, job.folder)
    return stack.enter_context(llama_cpp(job.folder, executable, file, job.options.threads))


def texts_of(model: Path) -> list[list[int]]:
    """Return prompts of uneven length from the pages of the guide, in tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    pages = sorted((ROOT / "swiftbox/guide/en").glob("*.md"))
    return [
        list(tokenizer(page.read_text("utf-8")).input_ids)[: 32 + 8 * (number % 9)]
        for number, page in enumerate(pages)
    ]


def throughput(recorder: Recorder, sides: Mapping[str, Side], options: argparse.Namespace) -> None:
    """Measure the sides in turns, and record medians and ratios."""
    prompts = texts_of(options.model or Path(sides["generate"].tokenizer.name_or_path))
    measured: dict[tuple[str, int], list[Answers]] = {}
    for side in sides.values():
        side.answer(prompts[:1], 4)  # what is set up at the first use
    for turn in range(options.runs):
        for clients in CLIENTS:
            batch = [prompts[(turn + row) % len(prompts)] for row in range(clients)]
            for name, side in sides.items():
                answers = side.answer(batch, options.tokens)
                measured.setdefault((name, clients), []).append(answers)
    for clients in CLIENTS:
        record_clients(recorder, {name: measured[name, clients] for name in sides}, clients)


Measure = Callable[[Answers], float]
FIGURES: Mapping[str, tuple[str, Measure]] = {
    "all": ("tokens/s", lambda answers: answers.rate),
    "first token": ("ms", lambda answers: 1000 * answers.first_s),
    "processor": ("ms/token", lambda answers: 1000 * answers.processor_s / answers.tokens),
}
"""What is recorded of each side: its unit, and how it is computed from one run."""


def record_clients(
    recorder: Recorder, sides: Mapping[str, Sequence[Answers]], clients: int
) -> None:
    """Record the figures of all sides with so many clients, and what the built-in server has."""
    medians: dict[str, float] = {}
    for figure, (unit, value) in FIGURES.items():
        for name, runs in sides.items():
            values = [value(answers) for answers in runs]
            medians[f"{name} {figure}"] = statistics.median(values)
            label = f"{clients} at once: {name}, {figure}"
            recorder.record(label, medians[f"{name} {figure}"], unit, raw={"runs": values})
    for name in sides:
        if name != "builtin":
            record_ratios(recorder, medians, name, clients)
            same = _same(sides["builtin"], sides[name])
            recorder.record(f"{clients} at once: answers as {name}", same, "of all")


def record_ratios(
    recorder: Recorder, medians: Mapping[str, float], other: str, clients: int
) -> None:
    """Record the rate of the built-in server over another's, and its processor time."""
    target = {"target": ">= 0.9"} if other == "generate" else {}
    ratio = medians["builtin all"] / medians[f"{other} all"]
    recorder.record(f"{clients} at once: builtin / {other}", ratio, "x", **target)
    cost = medians["builtin processor"] / medians[f"{other} processor"]
    recorder.record(f"{clients} at once: processor, builtin / {other}", cost, "x")


def _same(ours: Sequence[Answers], theirs: Sequence[Answers]) -> float:
    """Return the share of answers with the same text."""
    pairs = [
        pair
        for mine, other in zip(ours, theirs, strict=True)
        for pair in zip(mine.texts, other.texts, strict=True)
    ]
    return sum(mine == other for mine, other in pairs) / len(pairs)
