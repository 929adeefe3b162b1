"""Tokens per second of the builtin server with 1 and 8 clients, against plain batched generate."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROUNDS, NEW_TOKENS = 2, 128
LONGEST_START_S = 120


def compare(folder: Path, make_model: Callable[[Path], Path], runs: int) -> int:
    """Measure both sides in turn, and print the medians and their ratio."""
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
                asked = prompts(turn, clients)
                rates.setdefault(f"generate {clients}", []).append(rate(generate, plain, asked))
                rates.setdefault(f"server {clients}", []).append(rate(clients_of, url, asked))
    threads = torch.get_num_threads()
    print(f"{NEW_TOKENS} new tokens each, float32, {threads} thread(s), median of {runs}")
    print(f"{'':12}{'generate':>16}{'server':>16}{'ratio':>9}")
    for clients in (1, 8):
        own = statistics.median(rates[f"server {clients}"])
        other = statistics.median(rates[f"generate {clients}"])
        print(
            f"{clients} at once".ljust(12)
            + f"{other:>10.1f} tok/s{own:>10.1f} tok/s{own / other:>8.2f}x"
        )
    return 0


def prompts(seed: int, count: int) -> list[list[int]]:
    """Return prompts of uneven length."""
    chooser = random.Random(seed)
    return [
        [chooser.randrange(5, 500) for _ in range(chooser.randint(32, 96))] for _ in range(count)
    ]


def rate(work: Callable[[Any, list[list[int]]], int], whom: Any, asked: list[list[int]]) -> float:
    """Return tokens per second."""
    began = time.perf_counter()
    tokens = sum(work(whom, asked) for _ in range(ROUNDS))
    return tokens / (time.perf_counter() - began)


def generate(model: Any, asked: list[list[int]]) -> int:
    """Write with one call of transformers; return the tokens written."""
    import torch

    longest = max(map(len, asked))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in asked])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in asked])
    said = model.generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        pad_token_id=0,
    )
    return int((said.shape[1] - longest) * len(asked))


def clients_of(url: str, asked: list[list[int]]) -> int:
    """Write with one client for each prompt; return the tokens written."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return sum(pool.map(lambda one: answer(url, one), asked))


def answer(url: str, prompt: list[int]) -> int:
    """Ask for one answer; return its tokens."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
    body = {"model": "model", "prompt": prompt, "max_tokens": NEW_TOKENS}
    body |= {"temperature": 0, "ignore_eos": True}
    connection.request(
        "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    said = json.load(connection.getresponse())
    connection.close()
    return int(said["usage"]["completion_tokens"])


@contextmanager
def server(folder: Path, model: Path) -> Iterator[str]:
    """Deploy the model as a user does; yield its address."""
    out = folder / "served"
    keys = {"model": str(model), "hub": "local", "engine": "builtin", "port": 0, "task": "deploy"}
    keys |= {"served_model_name": "model", "output_dir": str(out), "dtype": "float32"}
    config = folder / "deploy.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()), "utf-8")
    words = [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"]
    env = {**os.environ, "SWIFTBOX_HOME": str(folder / "home")}
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + LONGEST_START_S
        while not (out / "events.jsonl").is_file() or not (found := address(out)):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def address(out: Path) -> str:
    """Return where it answers, once it does."""
    lines = (out / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return next((one["url"] for one in events if one["event"] == "serving"), "")
