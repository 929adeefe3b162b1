"""Encode a dataset once: in several processes where it is large, kept by the hash of its content.

The key covers the rows' bytes, what is taken of them, the tokenizer with its template, the stage
and all settings that change tokens. An interrupted encoding leaves nothing that is taken for
whole: files are renamed when complete, and the record of the check is written last.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.samples import Sample
from swiftbox.core.data.storage import Kept, Stored, write
from swiftbox.data.check import dataset_hash, iterate_examples
from swiftbox.data.example import Example
from swiftbox.data.source import RowSource
from swiftbox.language import home, text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

VERSION = "2"
"""Goes up when the same rows are encoded to other tokens."""

CHUNK = 1000
"""Examples that are encoded at a time."""

WORTH_PROCESSES = 20_000
"""Examples from which on the seconds that processes take to start are won back."""

MOST_PROCESSES = 16
KEPT = 8
"""Encoded datasets that are kept; of more the longest unused is deleted."""


@dataclass(frozen=True)
class Encoding:
    """What makes tokens of examples; goes to other processes as it is."""

    method: str
    encode: Callable[..., list[Any]]
    tokenizer: Any
    config: TrainConfig

    def __call__(self, examples: Sequence[Example]) -> list[Sample]:
        """Encode some examples."""
        return self.encode(examples, self.tokenizer, self.config)


def encoded(
    sources: Sequence[RowSource], encoding: Encoding, emit: Emit
) -> tuple[Stored, dict[str, Any]]:
    """Return the samples of the sources, and what the check of the rows found.

    Raises DataError when too many rows are bad.
    """
    folder = home() / "cache" / "tokens"
    folder.mkdir(parents=True, exist_ok=True)
    key = content_key(sources, encoding)
    arrow, record = folder / f"{key}.arrow", folder / f"{key}.json"
    with _alone(folder / f"{key}.lock"):
        if record.is_file() and arrow.is_file():
            os.utime(record)
            emit(
                events.NOTE,
                key="tokens",
                message=text("tokens: kept from before", "token：已有缓存"),
            )
            return Stored(arrow), json.loads(record.read_text(encoding="utf-8"))
        partial = folder / f"{key}.partial"
        found: dict[str, Any] = {}
        try:
            write(partial, _samples(sources, encoding, found))
            partial.replace(arrow)
            record.write_text(json.dumps(found), encoding="utf-8")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            for path in (partial, arrow, record):
                path.unlink(missing_ok=True)
            message = text(
                "tokens: the disk is full; they are kept in memory, for this run alone",
                "token：磁盘已满；仅在本次运行的内存中保留",
            )
            emit(events.WARNING, message=message)
            return Kept(list(_samples(sources, encoding, found))), found
        finally:
            partial.unlink(missing_ok=True)
    _forget(folder)
    return Stored(arrow), found


def content_key(sources: Sequence[RowSource], encoding: Encoding) -> str:
    """Hash all that decides which tokens come out."""
    config, tokenizer = encoding.config, encoding.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    taken = [
        (one.subset, one.split, one.num_samples, one.weight, one.columns, one.tags)
        for one in sources
    ]
    splits_at = config.max_length if encoding.method == "pt" else None
    parts = [
        VERSION,
        encoding.method,
        dataset_hash(sources),
        taken,
        backend.to_str() if backend else repr(tokenizer),
        sorted(map(str, tokenizer.special_tokens_map.items())),
        tokenizer.chat_template,
        (config.train_on_prompt, splits_at, config.max_bad_rows, config.seed),
    ]
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _samples(
    sources: Sequence[RowSource], encoding: Encoding, found: dict[str, Any]
) -> Iterator[Sample]:
    """Yield the samples of all examples in their order; `found` gets the check's record."""
    config = encoding.config
    examples = iterate_examples(
        sources, stage=encoding.method, max_bad_rows=config.max_bad_rows, seed=config.seed
    )
    with _Line(encoding) as line:
        for chunk in _chunks(example for example, _ in examples):
            yield from line.through(chunk)
        yield from line.rest()
    found["bad"] = len(examples.checked.bad)
    found["preferences"] = examples.checked.preference_data()


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    waiting = iter(examples)
    while chunk := list(islice(waiting, CHUNK)):
        yield chunk


class _Line:
    """Encodes chunks in order, in this process first and in several once it is worth it."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.done = 0
        asked = encoding.config.dataset_num_proc
        self.processes = asked or min(MOST_PROCESSES, os.cpu_count() or 1)
        self.pool: ProcessPoolExecutor | None = None
        self.running: deque[Future[list[Sample]]] = deque()

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def through(self, chunk: list[Example]) -> Iterator[Sample]:
        """Take a chunk in; yield the samples that are ready."""
        self.done += len(chunk)
        if self.processes == 1 or self.done <= WORTH_PROCESSES:
            yield from self.encoding(chunk)
            return
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                self.processes, get_context("spawn"), _set_up, (self.encoding,)
            )
        self.running.append(self.pool.submit(_encode, chunk))
        if len(self.running) > 2 * self.processes:
            yield from self.running.popleft().result()

    def rest(self) -> Iterator[Sample]:
        """Yield the samples still being made."""
        while self.running:
            yield from self.running.popleft().result()


_encoding: list[Encoding] = []
"""Of a process of the pool."""


def _set_up(encoding: Encoding) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallel part
    _encoding.append(encoding)


def _encode(chunk: list[Example]) -> list[Sample]:
    return _encoding[0](chunk)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process of the machine in at a time; the others find its work done."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _forget(folder: Path) -> None:
    """Delete what was longest unused beyond what is kept."""
    records = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for record in records[:-KEPT]:
        for suffix in (".json", ".arrow", ".lock"):
            record.with_suffix(suffix).unlink(missing_ok=True)
