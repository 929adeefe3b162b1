"""Cache of the reference policy's log-probabilities, by model and by pair.

Shapes: B pairs of a batch. Each process appends to its own file in the cache folder. A record
has 24 bytes: 16 of the pair's hash and two float32. Records are only appended, so an interrupted
run keeps what it computed; a torn last record is ignored.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import to_device
from swiftbox.core.data.samples import PreferencePair
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.scoring import pair_batch, scores

RECORD = struct.Struct("<16sff")

BATCH_TOKENS = {"cpu": 4096}
"""Tokens of a batch without gradients; larger batches are not faster."""

ACCELERATOR_BATCH_TOKENS = 32_768

PairLogProbs = tuple[float, float]


def model_hash(folders: Iterable[Path], settings: Iterable[str]) -> str:
    """Hash everything that determines the reference: weights, their config, and settings."""
    digest = hashlib.blake2b(digest_size=16)
    for setting in settings:
        digest.update(setting.encode() + b"\0")
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".safetensors", ".json"):
                continue
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while block := file.read(2**22):
                    digest.update(block)
    return digest.hexdigest()


def pair_hash(pair: PreferencePair) -> bytes:
    """Hash the tokens of a pair and which of them are scored."""
    digest = hashlib.blake2b(digest_size=16)
    for row in pair.rows:
        digest.update(len(row).to_bytes(4, "little"))
        digest.update(row.input_ids.tobytes())
        digest.update(row.labels.tobytes())
    return digest.digest()


class ReferenceCache:
    """The log-probabilities known for one reference model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[bytes, PairLogProbs] = {}
        self.read()

    def read(self) -> None:
        """Load the records that any process has written."""
        for path in sorted(self.folder.glob("*.bin")):
            content = path.read_bytes()
            complete = len(content) - len(content) % RECORD.size
            for key, chosen, rejected in RECORD.iter_unpack(content[:complete]):
                self.known[key] = (chosen, rejected)

    def append(self, process: int, records: Iterable[tuple[bytes, float, float]]) -> None:
        """Append records to this process's file, after its last complete one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{process}.bin"
        with path.open("ab") as file:
            file.truncate(file.tell() - file.tell() % RECORD.size)
            for record in records:
                file.write(RECORD.pack(*record))
                self.known[record[0]] = record[1:]


@dataclass(frozen=True)
class PairScorer:
    """A function that scores pairs, and how the work is divided between processes."""

    score: Callable[[Sequence[PreferencePair]], torch.Tensor]
    """Returns log-probabilities, the chosen answers first.  # (2B,)"""
    process: int = 0
    processes: int = 1
    batch_tokens: int = BATCH_TOKENS["cpu"]


def precompute(
    pairs: Sequence[PreferencePair],
    scorer: PairScorer,
    cache: ReferenceCache,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[PreferencePair]:
    """Return the pairs with the reference's log-probabilities; compute those not in the cache."""
    keys = [pair_hash(pair) for pair in pairs]
    missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in cache.known}
    by_length = sorted(missing.items(), key=lambda item: len(item[1]))
    share = by_length[scorer.process :: scorer.processes]
    done = 0
    for batch in _batches(share, scorer.batch_tokens):
        values = scorer.score([pair for _, pair in batch]).float().cpu().numpy()  # (2B,)
        chosen, rejected = np.split(values, 2)  # (B,), (B,)
        records = zip((key for key, _ in batch), chosen.tolist(), rejected.tolist(), strict=True)
        cache.append(scorer.process, records)
        done += len(batch)
        if on_progress:
            on_progress(done, len(share))
    if scorer.processes > 1:
        torch.distributed.barrier()
        cache.read()
    return [
        replace(pair, reference=cache.known[key]) for key, pair in zip(keys, pairs, strict=True)
    ]


def _batches(
    pairs: Sequence[tuple[bytes, PreferencePair]], batch_tokens: int
) -> Iterable[list[tuple[bytes, PreferencePair]]]:
    batch: list[tuple[bytes, PreferencePair]] = []
    tokens = 0
    for key, pair in pairs:
        length = sum(len(row) for row in pair.rows)
        if batch and tokens + length > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append((key, pair))
        tokens += length
    if batch:
        yield batch


def pair_scores(
    model: Any, reader: LogProbReader, layout: str, dtype: torch.dtype
) -> Callable[[Sequence[PreferencePair]], torch.Tensor]:
    """Return the function that scores pairs with the model's present weights.  # -> (2B,)"""
    device = next(model.parameters()).device

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def score(pairs: Sequence[PreferencePair]) -> torch.Tensor:
        batch = to_device(pair_batch(pairs, layout), device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return scores(model, batch, reader, sequences=2 * len(pairs)).sums

    return score
