"""Datasets that are still on a hub: their size and row lengths, estimated from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import BYTES_PER_TOKEN, Lengths
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.fit.row_sizes import ASSUMED_TOKENS
from swiftbox.models import catalogue

UNCERTAINTY = 3.0
"""The factor, in both directions, that covers this range."""

BYTES_PER_ROW = ASSUMED_TOKENS * BYTES_PER_TOKEN * 1.2
"""Including the keys of the JSON."""


@dataclass(frozen=True)
class RemoteRows:
    """An estimate of the datasets to download; `unknown` are those without a known size."""

    bytes: float = 0.0
    rows: int = 0
    rows_per_epoch: float = 0.0
    """The number of their rows that an epoch uses."""
    unknown: tuple[str, ...] = ()

    def lengths(self, local: Lengths | None) -> Lengths | None:
        """Add rows of typical length to the local ones; None if some datasets are unknown."""
        if self.unknown or not (self.rows or local):
            return None
        lengths = Lengths()
        if local is not None and local.good_rows:
            share = local.taken / local.good_rows
            lengths.rows = {size: round(count * share) for size, count in local.rows.items()}
            lengths.sums = {size: total * share for size, total in local.sums.items()}
            lengths.taken = local.taken
        size, taken = ASSUMED_TOKENS.bit_length(), round(self.rows_per_epoch)
        lengths.rows[size] = lengths.rows.get(size, 0) + taken
        lengths.sums[size] = lengths.sums.get(size, 0.0) + taken * ASSUMED_TOKENS
        lengths.taken += taken
        lengths.good_rows = lengths.taken
        return lengths


def all_lengths(remote: RemoteRows, local: Lengths | None) -> Lengths | None:
    """Return the lengths of all rows; None if some datasets are unknown."""
    return remote.lengths(local) if remote.rows or remote.unknown else local


def remote_rows(config: TrainConfig) -> RemoteRows:
    """Estimate the datasets that a training downloads, from the catalogue's numbers of rows."""
    size, rows, rows_per_epoch, unknown = 0.0, 0, 0.0, list[str]()
    for source in _remote_sources(config.dataset, config.columns):
        row = catalogue.dataset(source.path)
        if row is None or not row.rows or row.modality not in (None, "text"):
            unknown.append(source.path)  # the number of images does not tell their size
            continue
        size += row.rows * BYTES_PER_ROW
        rows += row.rows
        rows_per_epoch += _taken(source, row.rows)
    training = {source.path for source in _remote_sources(config.dataset, config.columns)}
    for source in _remote_sources(config.val_dataset or [], config.columns):
        row = catalogue.dataset(source.path) if source.path not in training else None
        size += (row.rows or 0) * BYTES_PER_ROW if row else 0.0
    return RemoteRows(size, rows, rows_per_epoch, tuple(unknown))


def _remote_sources(named: Any, columns: dict[str, str]) -> Iterator[RowSource]:
    """Yield the sources that are not on this machine."""
    entries = [
        source.model_dump() if isinstance(source, DatasetSource) else source
        for source in as_list(named)
    ]
    for source in parse_sources(entries, columns=columns):
        if not Path(source.path).expanduser().exists():
            yield source


def _taken(source: RowSource, rows: int) -> float:
    return min(source.num_samples or rows, rows) * (source.weight or 1.0)
