"""Each quantization of a model: bytes, perplexity, recomputed perplexity, tokens/s, an answer.

Needs the engines gptq, compress and llama_cpp (swiftbox engines install ...); methods whose engine
is not installed are left out. Takes an hour on two cores, for SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from served_models import address

METHODS: Mapping[str, tuple[str, ...]] = {
    "gptq": ("method=gptq", "bits=4", "group_size=64"),
    "awq": ("method=awq", "group_size=64"),
    "fp8": ("method=fp8",),
    "w8a8": ("method=w8a8",),
    "nf4": ("method=bnb", "bits=4"),
    "int8": ("method=bnb", "bits=8"),
    "q4_k_m": ("method=gguf", "bits=4"),
    "q8_0": ("method=gguf", "bits=8"),
}
"""The settings of each row; groups of 64 fit the rows of SmolLM2, which 128 does not divide."""

CALIBRATED = ("gptq", "awq", "w8a8")
QUESTION = "What is the capital of France?"
NEW_TOKENS = 64
LONGEST_START_S = 600
ANSWER_S = 600


@dataclass(frozen=True)
class Figures:
    """What is measured of a served model."""

    engine: str
    rate: float
    """Tokens of an answer per second, with its prompt; the second of two equal requests."""
    answer: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--model", type=Path, help="model folder (default: SmolLM2-135M)")
    parser.add_argument("--folder", type=Path, help="keeps the results; those in it are reused")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--samples", type=int, default=16, help="texts to calibrate (default 16)")
    parser.add_argument("--length", type=int, default=256, help="tokens of a text (default 256)")


def run(options: argparse.Namespace) -> int:
    """Quantize, recompute and serve by each method; print the table as it grows."""
    from smollm2 import smollm2_folder

    model = (options.model or smollm2_folder()).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'':8}{'MiB':>8}{'before':>9}{'after':>9}{'ratio':>8}{'stored':>9}{'tok/s':>8}")
        for method in options.methods:
            print(row(method, model, folder, options), flush=True)
    return 0


def row(method: str, model: Path, folder: Path, options: argparse.Namespace) -> str:
    """Return the line of a method."""
    out = folder / method
    if not (out / "quantize.json").is_file():
        settings = [*METHODS[method], f"calibration_length={options.length}"]
        if method in CALIBRATED:
            settings.append(f"calibration_samples={options.samples}")
        if problem := quantize(model, out, settings):
            return f"{method:8}  {problem}"
    report = json.loads((out / "quantize.json").read_text("utf-8"))
    try:
        served = serve(out)
    except RuntimeError as error:
        return f"{figures(method, report, recomputed(out, model))}       -  {error}"
    head = figures(method, report, recomputed(out, model))
    return f"{head}{served.rate:8.1f}  {served.engine}: {served.answer!r}"


def figures(method: str, report: Mapping[str, Any], stored: float) -> str:
    """Return the figures of a report and the recomputed perplexity; GGUF's `before` is BF16's."""
    return (
        f"{method:8}{report['bytes_after'] / 2**20:8.1f}{report['perplexity_before']:9.3f}"
        f"{report['perplexity_after']:9.3f}{report['perplexity_ratio']:8.4f}{stored:9.3f}"
    )


def quantize(model: Path, out: Path, settings: list[str]) -> str:
    """Quantize as a user does; return the error, if there is one."""
    config = out.with_suffix(".yaml")
    config.write_text(f"task: quantize\nmodel: {model}\nhub: local\n", "utf-8")
    command = [sys.executable, "-m", "swiftbox", "run", str(config), *settings, "--plain"]
    done = subprocess.run(
        [*command, f"output_dir={out}"], capture_output=True, text=True, check=False
    )
    lines = (done.stderr or done.stdout).strip().splitlines()
    problems = [line for line in lines if line.startswith("error:")]
    return "" if done.returncode == 0 else " ".join(problems or lines[-1:])


def recomputed(out: Path, model: Path) -> float:
    """Return the perplexity of the stored tensors, dequantized without the engine."""
    from stored_weights import held_out_pieces, perplexity, read_stored

    return perplexity(model, read_stored(out / "model"), held_out_pieces(out, model))


def serve(out: Path) -> Figures:
    """Serve a result and ask it; raise RuntimeError if it cannot be served."""
    with tempfile.TemporaryDirectory() as place, server(out, Path(place) / "served") as started:
        url, engine = started
        ask(url, 4)
        began = time.perf_counter()
        answer, tokens = ask(url, NEW_TOKENS)
        return Figures(engine, tokens / (time.perf_counter() - began), answer)


@contextmanager
def server(model: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Deploy a run as a user does, with the engine that fits it; yield its address and engine."""
    config = out.with_suffix(".yaml")
    keys = {"task": "deploy", "model": model, "hub": "local", "port": 0, "max_concurrency": 1}
    keys |= {"output_dir": out, "served_model_name": "model", "max_model_len": 1024}
    config.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()), "utf-8")
    command = [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + LONGEST_START_S
        while not (out / "events.jsonl").is_file() or not (url := address(out)):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(problem_of(process))
            time.sleep(0.2)
        yield url, engine_of(out)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(120)


def problem_of(process: subprocess.Popen[str]) -> str:
    """Return why a server did not start."""
    if process.poll() is None:
        return "the server did not start in time"
    lines = process.communicate()[0].splitlines()
    return next((line for line in lines if line.startswith("error:")), "the server did not start")


def engine_of(out: Path) -> str:
    """Return the program that serves, as its event says."""
    lines = (out / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return next(str(event["engine"]) for event in events if event["event"] == "serving")


def ask(url: str, new_tokens: int) -> tuple[str, int]:
    """Ask the question; return the answer and its number of tokens."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_S)
    body = {"model": "model", "messages": [{"role": "user", "content": QUESTION}]}
    body |= {"max_tokens": new_tokens, "temperature": 0}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = json.load(connection.getresponse())
    connection.close()
    return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]
