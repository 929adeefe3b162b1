"""A short request alone and beside long ones: a part of `scripts/bench serving`."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpu.figures import Recorder
from serving_sides import HEADERS, ROUTE, Served

SHORT_TOKENS = 30
"""Of the prompt, and of the answer."""

LONG_BYTES = 4 * 2**20 - 1024
"""A body of 4 MB."""

LONG_TOKENS = 6000
LONG_REQUESTS = 2
ALONE = 5
BESIDE = 3
"""Short requests beside prompts that are read for minutes."""


def measure(recorder: Recorder, server: Served, model: Path, rounds: int) -> None:
    """Record the seconds of a short request alone, and their ratio beside long ones."""
    from transformers import AutoTokenizer

    text = long_text()
    tokens = list(AutoTokenizer.from_pretrained(model)(text[:100_000]).input_ids)
    short = tokens[:SHORT_TOKENS]
    server.stream(short, SHORT_TOKENS)
    alone = [server.stream(short, SHORT_TOKENS).seconds for _ in range(ALONE)]
    recorder.record("alone", 1000 * statistics.median(alone), "ms", raw={"runs": alone})
    others = tokens[len(tokens) // 2 :][:LONG_TOKENS]
    cases: dict[str, tuple[list[Any], int | None]] = {
        "4 MB": ([text, text[::-1]], None),
        f"{LONG_TOKENS} tokens": ([tokens[:LONG_TOKENS], others], BESIDE),
    }
    for name, (prompts, count) in cases.items():
        series = [beside(server, short, prompts, count) for _ in range(rounds)]
        record(recorder, f"beside 2 x {name}", series, statistics.median(alone))


def record(
    recorder: Recorder, name: str, series: Sequence[Sequence[float]], alone_s: float
) -> None:
    """Record the ratios of the first short request of each round, and of all of them."""
    first = [seconds[0] / alone_s for seconds in series]
    ratios = [seconds / alone_s for row in series for seconds in row]
    raw = {"seconds": [list(row) for row in series]}
    recorder.record(f"{name}: first", statistics.median(first), "x", target="<= 2", raw=raw)
    recorder.record(f"{name}: median", statistics.median(ratios), "x", target="<= 2")
    recorder.record(f"{name}: worst", max(ratios), "x", note=f"of {len(ratios)}")


def long_text() -> str:
    """Return a body's worth of words, which no line and no repetition makes easier."""
    chooser = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    vocabulary = ["".join(chooser.choices(letters, k=chooser.randint(2, 9))) for _ in range(20_000)]
    return " ".join(chooser.choices(vocabulary, k=LONG_BYTES // 5))[:LONG_BYTES]


def beside(
    server: Served, short: list[int], prompts: Sequence[Any], count: int | None
) -> list[float]:
    """Return the seconds of short requests one after another while long ones are open.

    `count`: how many; None for as many as there are until all long ones are answered.
    """
    seconds: list[float] = []
    with long_requests(server, prompts) as is_open:
        while not seconds or (len(seconds) < count if count else is_open()):
            seconds.append(server.stream(short, SHORT_TOKENS).seconds)
    return seconds


@contextlib.contextmanager
def long_requests(server: Served, prompts: Sequence[Any]) -> Iterator[Callable[[], bool]]:
    """Send long requests; yield whether one has no answer yet. In the end all are cancelled."""
    connections = [http.client.HTTPConnection(server.host, timeout=600) for _ in prompts]

    def ask(connection: http.client.HTTPConnection, prompt: Any) -> None:
        body = {"model": "model", "prompt": prompt, "max_tokens": 1}
        with contextlib.suppress(OSError, http.client.HTTPException, AttributeError):
            connection.request("POST", ROUTE, json.dumps(body), HEADERS)
            connection.getresponse().read()

    threads = [
        threading.Thread(target=ask, args=pair, daemon=True)
        for pair in zip(connections, prompts, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield lambda: any(thread.is_alive() for thread in threads)
    finally:
        for connection in connections:
            if connection.sock is not None:
                connection.sock.shutdown(2)  # closing alone does not wake who waits for an answer
        for thread in threads:
            thread.join()
