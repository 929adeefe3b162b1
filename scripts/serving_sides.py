"""The sides of `scripts/bench serving`: what each takes to write the answers to some prompts.

Every side gets the same tokens, writes the same number of them greedily, and has the same threads.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench_start import processor_seconds
from served_models import LONGEST_START_S, RunningServer, deployed

CONTEXT, SLOTS = 1024, 8
"""Tokens of an answer with its prompt in llama.cpp, and answers at the same time."""

TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""Number types, as torch and as llama.cpp's converter call them."""


ROUTE, HEADERS = "/v1/completions", {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answers:
    """What the answers to some prompts took, and their texts."""

    texts: list[str]
    tokens: int
    first_s: float
    """Mean seconds to the first token of an answer."""
    seconds: float
    processor_s: float

    @property
    def rate(self) -> float:
        """Return tokens per second, all answers together."""
        return self.tokens / self.seconds


class Side(Protocol):
    """Something that writes answers."""

    def answer(self, prompts: Sequence[list[int]], new_tokens: int) -> Answers:
        """Answer all prompts at the same time."""


class Generate:
    """transformers' generate, with all prompts in one batch."""

    def __init__(self, model: Path, dtype: str, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self.model: Any = loaded.eval()

    def answer(self, prompts: Sequence[list[int]], new_tokens: int) -> Answers:
        """Answer in one call; its streamer tells when the first tokens are there."""
        import torch

        longest = max(map(len, prompts))
        rows = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        arrivals = _Arrivals()
        began, processor = time.perf_counter(), time.process_time()
        output = self.model.generate(
            torch.tensor(rows),
            attention_mask=torch.tensor(mask),
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=0,
            streamer=arrivals,
        )
        seconds, processor_s = time.perf_counter() - began, time.process_time() - processor
        new = output[:, longest:]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        first_s = arrivals.first - began  # the prompts are the streamer's first piece
        return Answers(texts, new.numel(), first_s, seconds, processor_s)


class _Arrivals:
    """A streamer that notes when the first new tokens arrived."""

    def __init__(self) -> None:
        self.pieces = 0
        self.first = 0.0

    def put(self, value: Any) -> None:  # noqa: ARG002 - the streamer's interface
        """Count a piece: the prompts, then the tokens of each step."""
        self.pieces += 1
        if self.pieces == 2:
            self.first = time.perf_counter()

    def end(self) -> None:
        """Do nothing."""


class Served:
    """A server with OpenAI's routes, and one client for each prompt."""

    def __init__(self, server: RunningServer, extra: Mapping[str, Any] | None = None) -> None:
        self.server = server
        self.extra = extra or {}
        """What its requests have besides."""

    def answer(self, prompts: Sequence[list[int]], new_tokens: int) -> Answers:
        """Answer with one streaming client per prompt."""
        began, processor = time.perf_counter(), processor_seconds(self.server.pid)
        with ThreadPoolExecutor(len(prompts)) as pool:
            answers = list(pool.map(lambda prompt: self.stream(prompt, new_tokens), prompts))
        seconds = time.perf_counter() - began
        processor_s = processor_seconds(self.server.pid) - processor
        first_s = sum(answer.first_s for answer in answers) / len(answers)
        tokens = sum(answer.tokens for answer in answers)
        return Answers([answer.text for answer in answers], tokens, first_s, seconds, processor_s)

    def stream(self, prompt: list[int], new_tokens: int) -> StreamedAnswer:
        """Request one answer as a stream."""
        body = {"model": "model", "prompt": prompt, "max_tokens": new_tokens, "temperature": 0}
        body |= {"ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        connection = self.connection()
        began, first, text, tokens = time.perf_counter(), 0.0, "", 0
        connection.request("POST", ROUTE, json.dumps({**body, **self.extra}), HEADERS)
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"{self.host}: {response.status}: {response.read()[:500]!r}")
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            content = json.loads(line[6:])
            for choice in content["choices"]:
                first = first or time.perf_counter()
                text += choice["text"]
            tokens = (content.get("usage") or {}).get("completion_tokens") or tokens
        connection.close()
        return StreamedAnswer(text, tokens, first - began, time.perf_counter() - began)

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection to it."""
        return http.client.HTTPConnection(self.host, timeout=600)

    @property
    def host(self) -> str:
        """Return its address with the port."""
        return self.server.url.removeprefix("http://")


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


class ServedOnSocket(Served):
    """llama.cpp's server, without the listener that a deployment has in front of it."""

    def __init__(self, path: Path, pid: int) -> None:
        # With its cache, a prompt that was read before would not be read again.
        super().__init__(RunningServer("http://localhost", pid), {"cache_prompt": False})
        self.path = path

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection to its socket."""
        return SocketConnection(self.path)

    def is_ready(self) -> bool:
        """Return whether the model is loaded."""
        try:
            with contextlib.closing(self.connection()) as connection:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
        except OSError:
            return False


@dataclass(frozen=True)
class StreamedAnswer:
    """One answer as its client saw it."""

    text: str
    tokens: int
    first_s: float
    seconds: float


@contextlib.contextmanager
def builtin(folder: Path, model: Path, dtype: str, threads: int) -> Iterator[Served]:
    """Serve with the built-in server."""
    folder.mkdir()
    variables = {"OMP_NUM_THREADS": str(threads)}
    settings = {"model": str(model), "dtype": dtype}
    with deployed(folder, settings, variables) as server:
        yield Served(server)


def llama_executable() -> Path | None:
    """Return llama.cpp's server of the engine in SWIFTBOX_ENGINES or the usual home, if any."""
    from swiftbox.engines.llama_cpp import server_executable
    from swiftbox.errors import UserError

    if home := os.environ.get("SWIFTBOX_ENGINES"):
        os.environ["SWIFTBOX_HOME"] = home
    try:
        return server_executable()
    except UserError:
        return None


def convert(model: Path, dtype: str, folder: Path) -> Path:
    """Write the model as GGUF without quantizing it."""
    from swiftbox.quantization.llama_cpp import converter_request
    from swiftbox.quantization.processes import convert as run_converter

    file = folder / f"model-{TYPES[dtype]}.gguf"
    request = {
        **converter_request(model, file, trusted=False),
        "type": TYPES[dtype],
        "tensors": [],
        "bytes": 0,
    }
    with (
        (folder / "convert.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stderr(log),
    ):
        result = run_converter(Path(sys.executable), request, folder, lambda *_, **__: None)
    if result.get("refused"):
        raise SystemExit(f"the converter refuses the model: {result.get('why')}")
    return file


@contextlib.contextmanager
def llama_cpp(folder: Path, executable: Path, file: Path, threads: int) -> Iterator[Served]:
    """Serve with llama.cpp, with the command that a deployment would run."""
    from swiftbox.serving import llama_cpp as llama
    from swiftbox.serving.forwarding import private_socket

    limits = llama.ServerLimits(CONTEXT, SLOTS)
    log = folder / "llama.log"
    with private_socket() as path, log.open("wb") as output:
        target = llama.LlamaTarget(executable, file, "model", path, limits, threads)
        environment = llama.environment(os.environ)
        process = subprocess.Popen(
            llama.command(target), env=environment, stdout=output, stderr=output
        )
        server = ServedOnSocket(path, process.pid)
        try:
            until = time.monotonic() + LONGEST_START_S
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"llama.cpp did not start: {log.read_text()}")
                time.sleep(0.1)
            yield server
        finally:
            process.terminate()
            process.wait(60)
