"""Tokens per second of the built-in server with 1 and 8 clients, compared with batched generate."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench_models import make_model

ROUNDS, NEW_TOKENS = 2, 128
LONGEST_START_S = 120


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")


def run(options: argparse.Namespace) -> int:
    """Compare with transformers' generate."""
    with tempfile.TemporaryDirectory() as temporary:
        return compare(Path(temporary), options.runs)


def compare(folder: Path, runs: int) -> int:
    """Measure both sides alternately; print the medians and their ratio."""
    import torch
    from transformers import AutoModelForCausalLM

    model = make_model(folder / "model")
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    rates: dict[str, list[float]] = {}
    with server(folder, model) as url:
        answer(url, prompts(0, 1)[0])
        generate(plain, prompts(0, 8))
        for turn in range(runs):
            for clients in (1, 8):
                batch = prompts(turn, clients)
                rates.setdefault(f"generate {clients}", []).append(
                    rate(partial(generate, plain), batch)
                )
                rates.setdefault(f"server {clients}", []).append(
                    rate(partial(ask_in_parallel, url), batch)
                )
    threads = torch.get_num_threads()
    print(f"{NEW_TOKENS} new tokens each, float32, {threads} thread(s), median of {runs}")
    print(f"{'':12}{'generate':>16}{'server':>16}{'ratio':>9}")
    for clients in (1, 8):
        served = statistics.median(rates[f"server {clients}"])
        generated = statistics.median(rates[f"generate {clients}"])
        print(
            f"{clients} at once".ljust(12)
            + f"{generated:>10.1f} tok/s{served:>10.1f} tok/s{served / generated:>8.2f}x"
        )
    return 0


def prompts(seed: int, count: int) -> list[list[int]]:
    """Return prompts of uneven length."""
    chooser = random.Random(seed)
    return [
        [chooser.randrange(5, 500) for _ in range(chooser.randint(32, 96))] for _ in range(count)
    ]


def rate(write: Callable[[list[list[int]]], int], batch: list[list[int]]) -> float:
    """Return tokens per second."""
    began = time.perf_counter()
    tokens = sum(write(batch) for _ in range(ROUNDS))
    return tokens / (time.perf_counter() - began)


def generate(model: Any, batch: list[list[int]], new_tokens: int = NEW_TOKENS) -> int:
    """Generate with one call of transformers; return the number of new tokens."""
    import torch

    longest = max(map(len, batch))
    device = model.device
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch], device=device)
    mask = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch], device=device
    )
    output = model.generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        pad_token_id=0,
    )
    return int((output.shape[1] - longest) * len(batch))


def ask_in_parallel(url: str, batch: list[list[int]], new_tokens: int = NEW_TOKENS) -> int:
    """Generate with one client per prompt; return the number of new tokens."""
    with ThreadPoolExecutor(len(batch)) as pool:
        return sum(pool.map(lambda prompt: answer(url, prompt, new_tokens), batch))


def answer(url: str, prompt: list[int], new_tokens: int = NEW_TOKENS) -> int:
    """Request one answer; return its number of tokens."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
    body = {"model": "model", "prompt": prompt, "max_tokens": new_tokens}
    body |= {"temperature": 0, "ignore_eos": True}
    connection.request(
        "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    response = json.load(connection.getresponse())
    connection.close()
    return int(response["usage"]["completion_tokens"])


@contextmanager
def server(folder: Path, model: Path, *, dtype: str = "float32") -> Iterator[str]:
    """Deploy the model as a user does; yield its address."""
    out = folder / "served"
    keys = {"model": str(model), "hub": "local", "engine": "builtin", "port": 0, "task": "deploy"}
    keys |= {"served_model_name": "model", "output_dir": str(out), "dtype": dtype}
    config = folder / "deploy.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()), "utf-8")
    command = [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"]
    env = {**os.environ, "SWIFTBOX_HOME": str(folder / "home")}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + LONGEST_START_S
        while not (out / "events.jsonl").is_file() or not (url := address(out)):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def address(out: Path) -> str:
    """Return the address, or nothing until it serves."""
    lines = (out / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return next((event["url"] for event in events if event["event"] == "serving"), "")
