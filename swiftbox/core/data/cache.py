"""Encode a dataset once and cache the samples by content hash, with several processes if large.

The key covers the bytes and names of the files, what is taken of them, the tokenizer with its
template, the stage, and every setting that changes tokens. A cache hit reads neither rows nor
examples; a miss checks and encodes them in one pass. An interrupted encoding is never mistaken for
a complete one: files are renamed when complete, and the record of the check is written last.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from swiftbox.config.classification import ClassificationFields
from swiftbox.config.train import TrainConfig
from swiftbox.core.data.encode import EncodedExample
from swiftbox.core.data.samples import Sample
from swiftbox.core.data.storage import MemorySamples, StoredSamples, write
from swiftbox.data.check import Examples, iterate_examples
from swiftbox.data.example import Example
from swiftbox.data.files import dataset_hash, naming_of
from swiftbox.data.findings import BadRow
from swiftbox.data.sampling import Origin
from swiftbox.data.source import RowSource
from swiftbox.files import file_lock, write_json
from swiftbox.language import cache_home, text
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.security.orphans import wake_when_orphaned
from swiftbox.templates.account import EACH_TOKENS, SAMPLED_TOKENS, Account
from swiftbox.templates.classified import ClassifiedRenderer
from swiftbox.templates.examples import ExampleRenderer
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.template import ConversationTemplate

VERSION = "3"
"""Increased when the same rows are encoded to different tokens, or stored in another way."""

CHUNK_EXAMPLES = 1000
"""Examples encoded at a time."""

PARALLEL_FROM_EXAMPLES = 20_000
"""Number of examples that takes longer to encode than worker processes take to start."""

MAX_PROCESSES = 16
MAX_DATASETS = 8
"""Encoded datasets in the cache; beyond that the least recently used is deleted."""


@dataclass(frozen=True)
class ExampleEncoder:
    """A method's encoding with its tokenizer and settings; can be sent to other processes."""

    method: str
    encode: Callable[..., list[Any]]
    tokenizer: Any
    config: TrainConfig
    splits_texts: bool = False
    """Whether max_length changes the tokens, because longer texts are split."""
    needs_template: bool = True
    """Whether examples are conversations."""

    @staticmethod
    def of(method: Any, tokenizer: Any, config: TrainConfig) -> ExampleEncoder:
        """Return the encoder of a methods.method.Method."""
        return ExampleEncoder(
            method.name,
            method.encode,
            tokenizer,
            config,
            method.splits_texts,
            method.needs_template,
        )

    def __call__(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """Encode some examples."""
        return self.encode(examples, self.tokenizer, self.config)

    def renderer(self) -> ExampleRenderer | ClassifiedRenderer | None:
        """Return what renders an example as `encode` does; None for texts without a template."""
        config = self.config
        if isinstance(config, ClassificationFields):
            return ClassifiedRenderer.of(config, self._template)
        return ExampleRenderer.of(self._template(), config) if self.needs_template else None

    def _template(self) -> ConversationTemplate:
        variables = self.config.chat_template_kwargs
        return ConversationTemplate.of_tokenizer(self.tokenizer, variables)


def encoded_samples(
    sources: Sequence[RowSource], encoder: ExampleEncoder, emit: Emit, *, data_hash: str = ""
) -> tuple[StoredSamples, dict[str, Any]]:
    """Return the samples of the sources, and the report of the check of their rows.

    `data_hash` is dataset_hash(sources); computed here if empty. Raises DataError when too many
    rows are bad.
    """
    folder = cache_home() / "cache" / "tokens"
    folder.mkdir(parents=True, exist_ok=True)
    key = content_key(sources, encoder, data_hash)
    arrow, record = folder / f"{key}.arrow", folder / f"{key}.json"
    with file_lock(folder / f"{key}.lock"):
        if record.is_file() and arrow.is_file():
            os.utime(record)
            message = text(
                "tokens: taken from the cache of an earlier run", "token：使用之前运行的缓存"
            )
            emit(events.NOTE, key="tokens", message=message)
            return StoredSamples(arrow), json.loads(record.read_text(encoding="utf-8"))
        partial, report = folder / f"{key}.partial", dict[str, Any]()
        try:
            write(partial, _encode_all(sources, encoder, report))
            partial.replace(arrow)
            write_json(record, report)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            for path in (partial, arrow, record):
                path.unlink(missing_ok=True)
            message = text(
                "tokens: the disk is full; they stay in memory and are not cached",
                "token：磁盘已满；仅保留在内存中，不写入缓存",
            )
            emit(events.WARNING, message=message)
            return MemorySamples(list(_encode_all(sources, encoder, report))), report
        finally:
            partial.unlink(missing_ok=True)
    _evict(folder)
    return StoredSamples(arrow), report


def content_key(sources: Sequence[RowSource], encoder: ExampleEncoder, data_hash: str = "") -> str:
    """Hash everything that determines the tokens."""
    config, tokenizer = encoder.config, encoder.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    selections = [
        (
            source.subset,
            source.split,
            source.num_samples,
            source.weight,
        )
        for source in sources
    ]
    split_length = config.max_length if encoder.splits_texts else None
    parts = [
        VERSION,
        encoder.method,
        data_hash or dataset_hash(sources),
        selections,
        [naming_of(source) for source in sources],
        backend.to_str() if backend else repr(tokenizer),
        sorted(map(str, tokenizer.special_tokens_map.items())),
        tokenizer.chat_template,
        RenderOptions.of(config),
        sorted(config.chat_template_kwargs.items()),
        (split_length, config.max_bad_rows, config.seed),
        *_classification(config),
    ]
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _classification(config: TrainConfig) -> list[Any]:
    """Return what changes the rows of a classifier besides; nothing for other methods."""
    if not isinstance(config, ClassificationFields):
        return []
    labels = (config.problem, config.num_labels, config.label_names)
    return [labels, config.use_chat_template, (config.max_length, config.truncation)]


@dataclass(frozen=True, slots=True)
class _Taken:
    """An example, where it comes from, and what was known of its dataset when it was read."""

    example: Example
    origin: Origin
    bad_before: int
    is_deferred: bool


def _encode_all(
    sources: Sequence[RowSource], encoder: ExampleEncoder, report: dict[str, Any]
) -> Iterator[Sample]:
    """Yield the samples of all examples in order; fill `report` with the result of the check."""
    for _, encoded in _encode_each(sources, encoder, report):
        yield from encoded.samples


def examples_at(
    sources: Sequence[RowSource], encoder: ExampleEncoder, indices: Sequence[int]
) -> list[tuple[Example, Origin]]:
    """Return the examples, with file and line, of the samples with these indices, in their order.

    The indices are those of `encoded_samples` of the same sources, which are encoded once more.
    """
    chosen = set(indices)
    examples: dict[int, tuple[Example, Origin]] = {}
    first = 0
    for taken, encoded in _encode_each(sources, encoder, {}):
        for index in range(first, first + len(encoded.samples)):
            if index in chosen:
                examples[index] = (taken.example, taken.origin)
        first += len(encoded.samples)
    return [examples[index] for index in indices]


def _encode_each(
    sources: Sequence[RowSource], encoder: ExampleEncoder, report: dict[str, Any]
) -> Iterator[tuple[_Taken, EncodedExample]]:
    """Yield all examples encoded; fill `report` with the result of the check."""
    config, renderer, account = encoder.config, encoder.renderer(), Account()
    examples = iterate_examples(
        sources,
        stage=encoder.method,
        max_bad_rows=config.max_bad_rows,
        seed=config.seed,
        renderer=renderer,
    )
    refused: list[tuple[int, BadRow]] = []
    with _OrderedEncoder(encoder) as ordered:
        for taken, encoded in ordered.encode_all(_taken(examples)):
            file, line = taken.origin
            if encoded.error is not None:
                error = encoded.error
                row = BadRow(file, line, error.kind, error.en, error.zh)
                refused.append((taken.bad_before, row))
                continue
            if taken.is_deferred:
                examples.accept(taken.example)
                account.add(encoded.account, f"{file}:{line}")
            else:  # counted when all rows were rendered; its tokens are those of the rows taken
                account.count(SAMPLED_TOKENS, encoded.account.counts[EACH_TOKENS])
            yield taken, encoded
    examples.refuse(refused)
    examples.require_usable()
    if renderer is not None:
        account.add(renderer.account)
    checked = examples.checked
    report["bad"], report["unlearned"] = len(checked.bad), len(checked.unlearned)
    report["unused"], report["cut_rows"] = dict(checked.unused), checked.cut_rows
    report["preferences"], report["account"] = checked.preference_data(), account.data()


def _taken(examples: Examples) -> Iterator[_Taken]:
    for example, origin in examples:
        yield _Taken(example, origin, len(examples.checked.bad), examples.is_deferred)


Chunk = list[_Taken]


def _chunks(examples: Iterable[_Taken]) -> Iterator[Chunk]:
    remaining = iter(examples)
    while chunk := list(islice(remaining, CHUNK_EXAMPLES)):
        yield chunk


class _OrderedEncoder:
    """Encodes chunks in order: in this process first, in several once the data is large enough."""

    def __init__(self, encoder: ExampleEncoder) -> None:
        self.encoder = encoder
        self.submitted = 0
        configured = encoder.config.dataset_num_proc
        self.processes = configured or min(MAX_PROCESSES, os.cpu_count() or 1)
        self.pool: ProcessPoolExecutor | None = None
        self.pending: deque[tuple[Chunk, Future[list[EncodedExample]]]] = deque()

    def __enter__(self) -> _OrderedEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def encode_all(self, examples: Iterable[_Taken]) -> Iterator[tuple[_Taken, EncodedExample]]:
        """Yield every example encoded, in order."""
        for chunk in _chunks(examples):
            yield from self._encode(chunk)
        while self.pending:
            yield from self._next_result()

    def _encode(self, chunk: Chunk) -> Iterator[tuple[_Taken, EncodedExample]]:
        """Submit a chunk; yield what is ready."""
        examples = [taken.example for taken in chunk]
        self.submitted += len(chunk)
        if self.processes == 1 or self.submitted <= PARALLEL_FROM_EXAMPLES:
            yield from zip(chunk, self.encoder(examples), strict=True)
            return
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                self.processes, get_context("spawn"), _initialize_process, (self.encoder,)
            )
        self.pending.append((chunk, self.pool.submit(_encode, examples)))
        if len(self.pending) > 2 * self.processes:
            yield from self._next_result()

    def _next_result(self) -> Iterator[tuple[_Taken, EncodedExample]]:
        taken, result = self.pending.popleft()
        yield from zip(taken, result.result(), strict=True)


_process_encoder: list[ExampleEncoder] = []
"""The encoder of a process of the pool."""


def _initialize_process(encoder: ExampleEncoder) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes already run in parallel
    wake_when_orphaned()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _process_encoder.append(encoder)


def _end_with_parent() -> None:
    """End this process when the one that it encodes for is gone: it would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(examples: list[Example]) -> list[EncodedExample]:
    return _process_encoder[0](examples)


def _evict(folder: Path) -> None:
    """Delete the least recently used datasets beyond the limit."""
    records = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for record in records[:-MAX_DATASETS]:
        for suffix in (".json", ".arrow", ".lock"):
            record.with_suffix(suffix).unlink(missing_ok=True)
