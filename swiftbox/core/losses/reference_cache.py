"""Log-probabilities of the reference, computed once and kept: by model, then by pair.

Shapes: B pairs of a batch. A file per process under the cache folder holds records of 24 bytes:
16 of the pair's hash and two float32. Records are only ever appended, so an interrupted run keeps
what it computed; a torn last record is not read.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import Pair
from swiftbox.core.losses.readout import Readout
from swiftbox.core.losses.scoring import pair_batch, scores

RECORD = struct.Struct("<16sff")

BATCH_TOKENS = {"cpu": 4096}
"""Tokens of a batch without gradients; more does not go faster."""

BATCH_TOKENS_ELSEWHERE = 32_768

Values = tuple[float, float]


def model_hash(folders: Iterable[Path], settings: Iterable[str]) -> str:
    """Hash every byte that decides what the reference says: weights, their config, settings."""
    found = hashlib.blake2b(digest_size=16)
    for one in settings:
        found.update(one.encode() + b"\0")
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".safetensors", ".json"):
                continue
            found.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while piece := file.read(2**22):
                    found.update(piece)
    return found.hexdigest()


def pair_hash(pair: Pair) -> bytes:
    """Hash the tokens of a pair and which of them are scored."""
    found = hashlib.blake2b(digest_size=16)
    for row in pair.rows:
        found.update(len(row).to_bytes(4, "little"))
        found.update(row.input_ids.tobytes())
        found.update(row.labels.tobytes())
    return found.digest()


class Store:
    """What is known of one reference model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[bytes, Values] = {}
        self.read()

    def read(self) -> None:
        """Take in what any process has written."""
        for path in sorted(self.folder.glob("*.bin")):
            content = path.read_bytes()
            whole = len(content) - len(content) % RECORD.size
            for key, chosen, rejected in RECORD.iter_unpack(content[:whole]):
                self.known[key] = (chosen, rejected)

    def append(self, process: int, found: Iterable[tuple[bytes, float, float]]) -> None:
        """Write records to this process's file, behind the last whole one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{process}.bin"
        with path.open("ab") as file:
            file.truncate(file.tell() - file.tell() % RECORD.size)
            for record in found:
                file.write(RECORD.pack(*record))
                self.known[record[0]] = record[1:]


def precompute(
    pairs: Sequence[Pair],
    score: Callable[[Sequence[Pair]], torch.Tensor],
    store: Store,
    *,
    process: int = 0,
    processes: int = 1,
    batch_tokens: int = BATCH_TOKENS["cpu"],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Pair]:
    """Return the pairs with the reference's log-probabilities, computing those not in store.

    `score` gives those of a batch of pairs, the chosen answers first.  # -> (2B,)
    """
    keys = [pair_hash(pair) for pair in pairs]
    missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in store.known}
    own = sorted(missing.items(), key=lambda one: len(one[1]))[process::processes]
    done = 0
    for batch in _batches(own, batch_tokens):
        found = score([pair for _, pair in batch]).float().cpu().numpy()  # (2B,)
        chosen, rejected = np.split(found, 2)  # (B,), (B,)
        triples = zip((key for key, _ in batch), chosen.tolist(), rejected.tolist(), strict=True)
        store.append(process, triples)
        done += len(batch)
        if on_progress:
            on_progress(done, len(own))
    if processes > 1:
        torch.distributed.barrier()
        store.read()
    return [
        replace(pair, reference=store.known[key]) for key, pair in zip(keys, pairs, strict=True)
    ]


def _batches(
    pairs: Sequence[tuple[bytes, Pair]], batch_tokens: int
) -> Iterable[list[tuple[bytes, Pair]]]:
    batch: list[tuple[bytes, Pair]] = []
    tokens = 0
    for one in pairs:
        length = sum(len(row) for row in one[1].rows)
        if batch and tokens + length > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(one)
        tokens += length
    if batch:
        yield batch


def scorer(
    model: Any, readout: Readout, layout: str, dtype: torch.dtype
) -> Callable[[Sequence[Pair]], torch.Tensor]:
    """Return the function that scores pairs with a model as it stands now.  # -> (2B,)"""
    device = next(model.parameters()).device

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def score(pairs: Sequence[Pair]) -> torch.Tensor:
        batch = {key: value.to(device) for key, value in pair_batch(pairs, layout).items()}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return scores(model, batch, readout, sequences=2 * len(pairs)).sums

    return score
