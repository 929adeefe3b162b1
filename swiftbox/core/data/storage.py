"""Store samples in an Arrow file and read them through a memory map.

Shapes: N samples. The file holds batches of BATCH_SAMPLES; the tokens of a sample are views of the
map, so a dataset larger than memory only costs the pages that are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from swiftbox.core.data.samples import LabeledAnswer, PreferencePair, PromptSample, Sample, TokenRow

BATCH_SAMPLES = 1000

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
    """Write samples as they arrive; return their number. Raises OSError when the disk is full."""
    count = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for batch in _batches(samples):
            columns = [
                [sample.rows[0].input_ids for sample in batch],
                [sample.rows[0].labels for sample in batch],
                [_second_row(sample).input_ids for sample in batch],
                [_second_row(sample).labels for sample in batch],
                [_extra(sample) for sample in batch],
                [len(sample) for sample in batch],
                [sum(len(row) for row in sample.rows) for sample in batch],
                [sample.trained for sample in batch],
                [sample.teaches for sample in batch],
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
    for sample in samples:
        batch.append(sample)
        if len(batch) == BATCH_SAMPLES:
            yield batch
            batch = []
    if batch:
        yield batch


EMPTY_ROW = TokenRow(np.empty(0, np.int32), np.empty(0, np.int32))


def _second_row(sample: Sample) -> TokenRow:
    return sample.rows[1] if len(sample.rows) > 1 else EMPTY_ROW


def _extra(sample: Sample) -> str:
    """Serialize what a sample has besides its rows; the keys identify its kind."""
    if isinstance(sample, PreferencePair):
        return json.dumps({"margin": sample.margin, "learns_prompt": sample.learns_prompt})
    if isinstance(sample, LabeledAnswer):
        return json.dumps({"label": sample.label})
    if isinstance(sample, PromptSample):
        return json.dumps({"messages": sample.messages, "columns": sample.columns})
    return ""


class StoredSamples(Sequence[Sample]):
    """The samples of a file that `write` has written."""

    def __init__(self, path: Path) -> None:
        self.file = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        self.batches = [
            self.file.get_batch(number) for number in range(self.file.num_record_batches)
        ]
        self.lengths = self._column("length")  # (N,), of the longer row
        self.tokens = self._column("tokens")  # (N,)
        self.trained = self._column("trained")  # (N,)
        self.teaches = self._column("teaches").astype(np.bool_)  # (N,)
        self._views: dict[int, list[tuple[Any, Any]]] = {}

    def _column(self, name: str) -> npt.NDArray[Any]:
        parts = [batch.column(name).to_numpy(zero_copy_only=False).copy() for batch in self.batches]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        batch, place = divmod(int(index), BATCH_SAMPLES)
        columns = self._token_columns(batch)
        row = TokenRow(_tokens(columns[0], place), _tokens(columns[1], place))
        extra = self.batches[batch].column("extra")[place].as_py()
        if not extra:
            return row
        fields = json.loads(extra)
        if "margin" in fields:
            second = TokenRow(_tokens(columns[2], place), _tokens(columns[3], place))
            return PreferencePair(row, second, **fields)
        if "label" in fields:
            return LabeledAnswer(row, fields["label"])
        return PromptSample(row, tuple(fields["messages"]), fields["columns"])

    def _token_columns(self, batch: int) -> list[tuple[Any, Any]]:
        """Return offsets and values of a batch's token columns, as views of the map."""
        if batch not in self._views:
            columns = (self.batches[batch].column(number) for number in range(4))
            self._views[batch] = [
                (column.offsets.to_numpy(), column.values.to_numpy()) for column in columns
            ]
        return self._views[batch]


def _tokens(column: tuple[Any, Any], place: int) -> npt.NDArray[np.int32]:
    offsets, values = column
    tokens: npt.NDArray[np.int32] = values[offsets[place] : offsets[place + 1]]
    return tokens


class MemorySamples(StoredSamples):
    """Samples in memory, used when the disk is full."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.lengths = np.array([len(sample) for sample in samples], np.int32)
        self.tokens = np.array([sum(map(len, sample.rows)) for sample in samples], np.int32)
        self.trained = np.array([sample.trained for sample in samples], np.int32)
        self.teaches = np.array([sample.teaches for sample in samples], np.bool_)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        return self.samples[index]


class SampleSubset(Sequence[Sample]):
    """Some of the samples, each truncated to max_length."""

    def __init__(self, samples: StoredSamples, indices: npt.NDArray[Any], max_length: int) -> None:
        self.samples = samples
        self.indices = indices
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> SampleSubset: ...
    def __getitem__(self, index: int | slice) -> Sample | SampleSubset:
        if isinstance(index, slice):
            return self.take(self.indices[index])
        sample = self.samples[int(self.indices[index])]
        return sample.truncated(self.max_length) if len(sample) > self.max_length else sample

    def take(self, indices: npt.NDArray[Any]) -> SampleSubset:
        """Return the subset with these indices of `samples`."""
        return SampleSubset(self.samples, indices, self.max_length)
