"""All examples of a dataset at once, for tests; a run reads them one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from swiftbox.data.check import Examples
from swiftbox.data.example import Example
from swiftbox.data.findings import CheckedRows
from swiftbox.data.sampling import Origin
from swiftbox.data.source import RowSource


@dataclass
class LoadedExamples(CheckedRows):
    """The result of a check, with every example and its origin."""

    examples: list[Example] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)


def load_examples(
    sources: Iterable[RowSource], *, stage: str, max_bad_rows: int, seed: int
) -> LoadedExamples:
    rows = Examples(tuple(sources), stage, max_bad_rows, seed, counts_repeats=True)
    pairs = list(rows)
    examples, origins = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return LoadedExamples(**vars(rows.checked), examples=examples, origins=origins)
