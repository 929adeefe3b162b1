"""The rows for models at an endpoint: conversations as they are, without a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from swiftbox.data.check import iterate_examples
from swiftbox.data.source import RowSource
from swiftbox.evaluation.own_rows.row_files import ChosenRow


def plain_rows(sources: tuple[RowSource, ...], seed: int) -> dict[str, Any]:
    """Return the rows of sources as plain data: the turns before the last answer, and its text.

    Raises DataError for bad rows.
    """
    return {"rows": list(_rows(sources, seed)), "cut": 0, "left_out": 0}


def _rows(sources: tuple[RowSource, ...], seed: int) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for example, (file, line) in iterate_examples(sources, stage="sft", max_bad_rows=0, seed=seed):
        place = f"{file}:{line}"
        seen[place] = seen.get(place, 0) + 1
        name = place if seen[place] == 1 else f"{place} #{seen[place]}"
        turns = example.messages
        last = max(index for index, turn in enumerate(turns) if turn.role == "assistant")
        before = tuple(turn.to_dict() for turn in turns[:last])
        yield asdict(ChosenRow(name, turns[last].content.strip(), before, example.tools))
