"""A model served as a user does, its clients, and transformers' generate: for benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS, NEW_TOKENS = 2, 128
LONGEST_START_S = 300
"""On a busy machine; a calm one needs some ten seconds."""


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


@dataclass(frozen=True)
class RunningServer:
    """A server and the process that it belongs to."""

    url: str
    pid: int


@contextmanager
def server(folder: Path, model: Path, *, dtype: str = "float32") -> Iterator[str]:
    """Deploy the model as a user does; yield its address."""
    with deployed(folder, {"model": str(model), "dtype": dtype}) as running:
        yield running.url


@contextmanager
def deployed(
    folder: Path, settings: Mapping[str, Any], variables: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Deploy with settings of the YAML and variables of the environment, as a user does."""
    out = folder / "served"
    keys = {"hub": "local", "engine": "builtin", "port": 0, "task": "deploy"}
    keys |= {"served_model_name": "model", "output_dir": str(out), **settings}
    config = folder / "deploy.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()), "utf-8")
    command = [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"]
    env = {**os.environ, "SWIFTBOX_HOME": str(folder / "home"), **(variables or {})}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + LONGEST_START_S
        while not (out / "events.jsonl").is_file() or not (url := address(out)):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield RunningServer(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def address(out: Path) -> str:
    """Return the address, or nothing until it serves."""
    lines = (out / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return next((event["url"] for event in events if event["event"] == "serving"), "")
