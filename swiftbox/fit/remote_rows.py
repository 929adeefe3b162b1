"""Datasets that are still on a hub: what their rows may weigh and how long they may be; a guess."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import BYTES_PER_TOKEN, Lengths
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.models import catalogue

TOKENS_PER_ROW = 400
"""Public sets of instructions have 150 (one short turn) to 1,200 (long chats) tokens a row."""

UNCERTAIN = 3.0
"""The factor either way that this covers."""

BYTES_PER_ROW = TOKENS_PER_ROW * BYTES_PER_TOKEN * 1.2
"""With the keys of JSON around it."""


@dataclass(frozen=True)
class RemoteRows:
    """What the datasets that have to be fetched may be; names are of those nothing is known of."""

    bytes: float = 0.0
    rows: int = 0
    rows_per_epoch: float = 0.0
    """Rows that an epoch takes of them."""
    unknown: tuple[str, ...] = ()

    def lengths(self, here: Lengths | None) -> Lengths | None:
        """Add rows of a usual length to those that are here; None where some are not known."""
        if self.unknown or not (self.rows or here):
            return None
        found = Lengths()
        if here is not None and here.good_rows:
            share = here.taken / here.good_rows
            found.rows = {size: round(count * share) for size, count in here.rows.items()}
            found.sums = {size: total * share for size, total in here.sums.items()}
            found.taken = here.taken
        size, taken = TOKENS_PER_ROW.bit_length(), round(self.rows_per_epoch)
        found.rows[size] = found.rows.get(size, 0) + taken
        found.sums[size] = found.sums.get(size, 0.0) + taken * TOKENS_PER_ROW
        found.taken += taken
        found.good_rows = found.taken
        return found


def remote_rows(config: TrainConfig) -> RemoteRows:
    """Guess what of a training's data has to be fetched, from the catalogue's numbers of rows."""
    named = [
        one.model_dump() if isinstance(one, DatasetSource) else one
        for one in as_list(config.dataset)
    ]
    size, rows, taken, unknown = 0.0, 0, 0.0, []
    for one in parse_sources(named, columns=config.columns):
        if Path(one.path).expanduser().exists():
            continue
        row = catalogue.dataset(one.path)
        if row is None or not row.rows or row.modality not in (None, "text"):
            unknown.append(one.path)  # pictures weigh what they weigh
            continue
        size += row.rows * BYTES_PER_ROW
        rows += row.rows
        taken += _taken(one, row.rows)
    return RemoteRows(size, rows, taken, tuple(unknown))


def _taken(one: RowSource, rows: int) -> float:
    return min(one.num_samples or rows, rows) * (one.weight or 1.0)
