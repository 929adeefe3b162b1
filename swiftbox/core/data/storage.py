"""Store samples in an Arrow file and read them through a memory map.

Shapes: N samples. The file holds batches of BATCH_SAMPLES; the tokens of a sample are views of the
map, so a dataset larger than memory only costs the pages that are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from swiftbox.core.data.samples import (
    IGNORED,
    ClassifiedRow,
    LabeledAnswer,
    PreferencePair,
    PromptSample,
    Sample,
    SharedPrefix,
    TokenRow,
    Tokens,
    TurnRows,
    computed_tokens,
)

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
        ("computed", pa.int32()),
        ("turns", pa.int32()),
        ("trained", pa.int32()),
        ("teaches", pa.bool_()),
    ]
)


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples as they arrive; return their number. Raises OSError when the disk is full."""
    count = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for batch in _batches(samples):
            first, second = list(map(_first_row, batch)), list(map(_second_row, batch))
            arrays = [
                token_array([row.input_ids for row in first]),
                token_array([row.labels for row in first]),
                token_array([row.input_ids for row in second]),
                token_array([row.labels for row in second]),
                text_array([_extra(sample) for sample in batch]),
                int_array([len(sample) for sample in batch]),
                int_array([computed_tokens(sample, shares=False) for sample in batch]),
                int_array([computed_tokens(sample, shares=True) for sample in batch]),
                int_array([turns_of(sample) for sample in batch]),
                int_array([sample.trained for sample in batch]),
                bool_array([sample.teaches for sample in batch]),
            ]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
            count += len(batch)
    return count


# ---- Arrow arrays and their buffers: pyarrow.array and to_numpy would import pandas


def values_of(array: pa.Array) -> npt.NDArray[Any]:
    """Return the values of an array of int32, as a view, or of bits."""
    buffer, start, end = array.buffers()[1], array.offset, array.offset + len(array)
    if array.type == pa.bool_():
        bits = np.frombuffer(buffer, dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little")[start:end].astype(np.bool_)
    return np.frombuffer(buffer, dtype=np.int32)[start:end]


def int_array(values: Sequence[int] | npt.NDArray[np.int32]) -> pa.Array:
    """Return an array of int32."""
    data = np.ascontiguousarray(values, dtype=np.int32)
    return pa.Array.from_buffers(pa.int32(), len(data), [None, pa.py_buffer(data)])


def bool_array(values: Sequence[bool]) -> pa.Array:
    """Return an array of bits."""
    bits = np.packbits(np.asarray(values, dtype=np.bool_), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def text_array(values: Sequence[str]) -> pa.Array:
    """Return an array of UTF-8 texts."""
    encoded = [value.encode() for value in values]
    buffers = [None, pa.py_buffer(offsets_of(encoded)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def token_array(values: Sequence[Tokens]) -> pa.Array:
    """Return an array of lists of int32."""
    buffers = [None, pa.py_buffer(offsets_of(values))]
    children = [int_array(np.concatenate(values))]
    return pa.Array.from_buffers(TOKENS, len(values), buffers, children=children)


def offsets_of(values: Sequence[Sized]) -> npt.NDArray[np.int32]:
    """Return where each value starts in the concatenation of all, and its end."""
    lengths = np.fromiter(map(len, values), dtype=np.int32, count=len(values))
    return np.concatenate([[0], lengths.cumsum()]).astype(np.int32)


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


def turns_of(sample: Sample) -> int:
    """Return the number of rows of a conversation that has a row for each turn; otherwise 0."""
    return len(sample.rows) if isinstance(sample, TurnRows) else 0


def _first_row(sample: Sample) -> TokenRow:
    """Return the row in the first columns: of a conversation, what its rows do not share."""
    if not isinstance(sample, TurnRows):
        return sample.rows[0]
    starts = [0, *(prefix.tokens for prefix in sample.prefixes)]
    parts = list(zip(sample.rows, starts, strict=True))
    return TokenRow(
        np.concatenate([row.input_ids[start:] for row, start in parts]),
        np.concatenate([row.labels[start:] for row, start in parts]),
    )


def _second_row(sample: Sample) -> TokenRow:
    return sample.rows[1] if isinstance(sample, PreferencePair) else EMPTY_ROW


def _extra(sample: Sample) -> str:
    """Serialize what a sample has besides its rows; the keys identify its kind."""
    if isinstance(sample, TokenRow):
        return "" if sample.weights is None else json.dumps({"weights": _runs(sample.weights)})
    if isinstance(sample, TurnRows):
        return json.dumps(
            {
                "lengths": list(map(len, sample.rows)),
                "prefixes": sample.prefixes,
                "turn_weights": [
                    row.weights if row.weights is None else _runs(row.weights)
                    for row in sample.rows
                ],
            }
        )
    if isinstance(sample, PreferencePair):
        return json.dumps({"margin": sample.margin, "learns_prompt": sample.learns_prompt})
    if isinstance(sample, LabeledAnswer):
        return json.dumps({"label": sample.label})
    if isinstance(sample, ClassifiedRow):
        numbers = {"second_from": sample.second_from, "uncut": sample.uncut}
        return json.dumps({"target": sample.target, **numbers})
    if isinstance(sample, PromptSample):
        return json.dumps({"messages": sample.messages, "columns": sample.columns})
    return ""


def _runs(weights: npt.NDArray[np.float32]) -> list[tuple[int, float]]:
    """Return equal weights in a row as their number and the weight."""
    edges = [0, *(np.flatnonzero(np.diff(weights)) + 1).tolist(), len(weights)]
    return [(end - start, float(weights[start])) for start, end in pairwise(edges)]


def _weights(runs: Sequence[tuple[int, float]] | None) -> npt.NDArray[np.float32] | None:
    """Return the weights that `_runs` has written."""
    if runs is None:
        return None
    return np.concatenate([np.full(count, weight, np.float32) for count, weight in runs])


def _turn_rows(branches: TokenRow, fields: Mapping[str, Any]) -> TurnRows:
    """Return the rows of a conversation from what they do not share."""
    prefixes = tuple([SharedPrefix(*prefix) for prefix in fields["prefixes"]])
    rows: list[TokenRow] = []
    start = 0
    parts = zip(fields["lengths"], (SharedPrefix(0, 0), *prefixes), strict=True)
    for (length, prefix), runs in zip(parts, fields["turn_weights"], strict=True):
        end = start + length - prefix.tokens
        ids, labels = branches.input_ids[start:end], branches.labels[start:end]
        if prefix.tokens:
            before = rows[prefix.row].input_ids[: prefix.tokens]
            ids = np.concatenate([before, ids])
            labels = np.concatenate([np.full(prefix.tokens, IGNORED, np.int32), labels])
        rows.append(TokenRow(ids, labels, _weights(runs)))
        start = end
    return TurnRows(tuple(rows), prefixes)


class StoredSamples(Sequence[Sample]):
    """The samples of a file that `write` has written."""

    def __init__(self, path: Path) -> None:
        self.file = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        self.batches = [
            self.file.get_batch(number) for number in range(self.file.num_record_batches)
        ]
        self.lengths = self._column("length")  # (N,), of the longer row
        self.tokens = self._column("tokens")  # (N,)
        self.computed = self._column("computed")  # (N,), where rows share what they begin with
        self.turns = self._column("turns")  # (N,), rows of conversations; 0 for other kinds
        self.trained = self._column("trained")  # (N,)
        self.teaches = self._column("teaches")  # (N,)
        self._views: dict[int, list[tuple[Any, Any]]] = {}

    def _column(self, name: str) -> npt.NDArray[Any]:
        parts = [values_of(batch.column(name)) for batch in self.batches]
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
        if "weights" in fields:
            return TokenRow(row.input_ids, row.labels, _weights(fields["weights"]))
        if "turn_weights" in fields:
            return _turn_rows(row, fields)
        if "margin" in fields:
            second = TokenRow(_tokens(columns[2], place), _tokens(columns[3], place))
            return PreferencePair(row, second, **fields)
        if "label" in fields:
            return LabeledAnswer(row, fields["label"])
        if "target" in fields:
            target = fields.pop("target")
            target = tuple(target) if isinstance(target, list) else target
            return ClassifiedRow(row, target, **fields)
        return PromptSample(row, tuple(fields["messages"]), fields["columns"])

    def _token_columns(self, batch: int) -> list[tuple[Any, Any]]:
        """Return offsets and values of a batch's token columns, as views of the map."""
        if batch not in self._views:
            columns = (self.batches[batch].column(number) for number in range(4))
            self._views[batch] = [
                (values_of(column.offsets), values_of(column.values)) for column in columns
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
        self.tokens = np.array(
            [computed_tokens(sample, shares=False) for sample in samples], np.int32
        )
        self.computed = np.array(
            [computed_tokens(sample, shares=True) for sample in samples], np.int32
        )
        self.turns = np.array([turns_of(sample) for sample in samples], np.int32)
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
