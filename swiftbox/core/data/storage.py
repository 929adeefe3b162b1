"""Samples on disk: written once, then read through a memory map, one at a time.

Shapes: N samples. An Arrow file holds batches of BATCH samples; a sample's tokens are views of
the map, so that a dataset larger than memory costs what is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from swiftbox.core.data.samples import Judged, Pair, Prompt, Row, Sample

BATCH = 1000

TOKENS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("ids", TOKENS),
        ("labels", TOKENS),
        ("other_ids", TOKENS),
        ("other_labels", TOKENS),
        ("extra", pa.string()),
        ("length", pa.int32()),
        ("tokens", pa.int32()),
        ("trained", pa.int32()),
        ("teaches", pa.bool_()),
    ]
)


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples as they come; return their number. Raises OSError when the disk is full."""
    count = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for batch in _batches(samples):
            columns = [
                [one.rows[0].input_ids for one in batch],
                [one.rows[0].labels for one in batch],
                [_other(one).input_ids for one in batch],
                [_other(one).labels for one in batch],
                [_extra(one) for one in batch],
                [len(one) for one in batch],
                [sum(len(row) for row in one.rows) for one in batch],
                [one.trained for one in batch],
                [one.teaches for one in batch],
            ]
            arrays = [
                pa.array(values, type=field.type)
                for values, field in zip(columns, SCHEMA, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
            count += len(batch)
    return count


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for one in samples:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


NOTHING = Row(np.empty(0, np.int32), np.empty(0, np.int32))


def _other(sample: Sample) -> Row:
    return sample.rows[1] if len(sample.rows) > 1 else NOTHING


def _extra(sample: Sample) -> str:
    """Write what a sample has beside its rows; its keys tell the kind."""
    if isinstance(sample, Pair):
        return json.dumps({"margin": sample.margin, "learns_prompt": sample.learns_prompt})
    if isinstance(sample, Judged):
        return json.dumps({"label": sample.label})
    if isinstance(sample, Prompt):
        return json.dumps({"messages": sample.messages, "columns": sample.columns})
    return ""


class Stored(Sequence[Sample]):
    """The samples of a file."""

    def __init__(self, path: Path) -> None:
        self.file = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        self.batches = [
            self.file.get_batch(number) for number in range(self.file.num_record_batches)
        ]
        self.lengths = self._column("length")  # (N,), of the longer row
        self.tokens = self._column("tokens")  # (N,)
        self.trained = self._column("trained")  # (N,)
        self.teaches = self._column("teaches").astype(np.bool_)  # (N,)
        self._open: dict[int, list[tuple[Any, Any]]] = {}

    def _column(self, name: str) -> npt.NDArray[Any]:
        parts = [batch.column(name).to_numpy(zero_copy_only=False).copy() for batch in self.batches]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...
    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        number, at = divmod(int(place), BATCH)
        columns = self._opened(number)
        row = Row(_part(columns[0], at), _part(columns[1], at))
        extra = self.batches[number].column("extra")[at].as_py()
        if not extra:
            return row
        found = json.loads(extra)
        if "margin" in found:
            return Pair(row, Row(_part(columns[2], at), _part(columns[3], at)), **found)
        if "label" in found:
            return Judged(row, found["label"])
        return Prompt(row, tuple(found["messages"]), found["columns"])

    def _opened(self, number: int) -> list[tuple[Any, Any]]:
        """Return offsets and values of a batch's token columns, as views of the map."""
        if number not in self._open:
            columns = (self.batches[number].column(at) for at in range(4))
            self._open[number] = [
                (one.offsets.to_numpy(), one.values.to_numpy()) for one in columns
            ]
        return self._open[number]


def _part(column: tuple[Any, Any], at: int) -> npt.NDArray[np.int32]:
    offsets, values = column
    found: npt.NDArray[np.int32] = values[offsets[at] : offsets[at + 1]]
    return found


class Kept(Stored):
    """Samples in memory, where the disk has no room for them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.lengths = np.array([len(one) for one in samples], np.int32)
        self.tokens = np.array([sum(map(len, one.rows)) for one in samples], np.int32)
        self.trained = np.array([one.trained for one in samples], np.int32)
        self.teaches = np.array([one.teaches for one in samples], np.bool_)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...
    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        return self.samples[place]


class Part(Sequence[Sample]):
    """Some of the samples, each cut to a length."""

    def __init__(self, samples: Stored, places: npt.NDArray[Any], max_length: int) -> None:
        self.samples = samples
        self.places = places
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Part: ...
    def __getitem__(self, place: int | slice) -> Sample | Part:
        if isinstance(place, slice):
            return self.take(self.places[place])
        found = self.samples[int(self.places[place])]
        return found.cut(self.max_length) if len(found) > self.max_length else found

    def take(self, places: npt.NDArray[Any]) -> Part:
        """Return the part that these places of the samples are."""
        return Part(self.samples, places, self.max_length)
