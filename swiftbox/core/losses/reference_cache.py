"""Cache of the reference policy's log-probabilities, by model and by pair.

Shapes: B pairs of a batch. Each process appends to its own file in the cache folder. A record
has 24 bytes: 16 of the pair's hash and two float32. Records are only appended, so an interrupted
run keeps what it computed; a torn last record is ignored.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import to_device
from swiftbox.core.data.samples import PreferencePair
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.scoring import pair_batch, scores
from swiftbox.core.losses.token_budget import TokenBudget
from swiftbox.core.training.memory_recovery import free_memory
from swiftbox.errors import MemoryLimitError
from swiftbox.language import text
from swiftbox.runs.diagnosis import first_line, is_out_of_memory

RECORD = struct.Struct("<16sff")

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
    budget: TokenBudget = field(default_factory=lambda: TokenBudget(torch.device("cpu")))


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
    while done < len(share):
        batch = next_batch(share, done, scorer.budget.tokens)
        values = scores_that_fit(scorer, [pair for _, pair in batch])  # (2B,)
        if values is None:
            continue  # with a smaller budget
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


def next_batch(
    pairs: Sequence[tuple[bytes, PreferencePair]], start: int, most_tokens: int
) -> Sequence[tuple[bytes, PreferencePair]]:
    """Return pairs from the start on, as many as have at most the tokens, but at least one."""
    tokens, end = 0, start
    while end < len(pairs):
        tokens += _tokens([pairs[end][1]])
        if end > start and tokens > most_tokens:
            break
        end += 1
    return pairs[start:end]


def scores_that_fit(scorer: PairScorer, pairs: Sequence[PreferencePair]) -> Any:
    """Return the scores of pairs; None if they did not fit and the budget is now smaller.  # (2B,)

    Raises MemoryLimitError if a single pair does not fit.
    """
    try:
        with scorer.budget.measured(_tokens(pairs)):
            return scorer.score(pairs).float().cpu().numpy()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(pairs) == 1:
            raise _pair_too_large(error, _tokens(pairs)) from error
    free_memory()  # outside the handler, where the error no longer holds the tensors
    scorer.budget.halve(_tokens(pairs))
    return None


def _tokens(pairs: Sequence[PreferencePair]) -> int:
    return sum(len(row) for pair in pairs for row in pair.rows)


def _pair_too_large(error: BaseException, tokens: int) -> MemoryLimitError:
    cause = first_line(error)
    return MemoryLimitError(
        text(
            f"out of memory: the reference policy cannot score a pair of {tokens} tokens: {cause}",
            f"内存不足：参考模型无法计算 {tokens} 个 token 的回答对：{cause}",
        ),
        hint=text(
            "set a smaller max_length, or use a device with more memory",
            "请设更小的 max_length，或换用显存更大的设备",
        ),
    )


def pair_scores(
    model: Any, reader: LogProbReader, layout: str, dtype: torch.dtype, device: torch.device
) -> Callable[[Sequence[PreferencePair]], torch.Tensor]:
    """Return the function that scores pairs with the model's present weights.  # -> (2B,)"""

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def score(pairs: Sequence[PreferencePair]) -> torch.Tensor:
        batch = to_device(pair_batch(pairs, layout), device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return scores(model, batch, reader, sequences=2 * len(pairs)).sums

    return score
