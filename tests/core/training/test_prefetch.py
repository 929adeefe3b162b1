"""Batches are collated ahead in order, by a thread that ends and whose errors arrive."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from swiftbox.core.data.rows import EpochSampler, UnitDataset
from swiftbox.core.data.samples import TokenRow
from swiftbox.core.training.held_out import batches_by_tokens, share_of
from swiftbox.core.training.loader import TrainingLoader, UpdateShape
from swiftbox.core.training.prefetch import Prefetcher


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_arrive_in_order_and_the_thread_ends() -> None:
    with Prefetcher(iter(range(50)), depth=3) as items:
        assert list(items) == list(range(50))
    assert prefetch_threads() == []


def test_no_more_items_are_computed_than_are_kept_ready() -> None:
    computed: list[int] = []
    full = threading.Event()

    def counting() -> Iterator[int]:
        for number in range(10):
            computed.append(number)
            if number == 2:
                full.set()
            yield number

    with Prefetcher(counting(), depth=2) as items:
        assert full.wait(60)
        assert computed == [0, 1, 2]  # two are ready, and one waits for room
        assert next(items) == 0
    assert prefetch_threads() == []


def test_an_error_arrives_after_the_items_before_it_with_its_traceback() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("row 7 is bad")

    with Prefetcher(failing(), depth=4) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="row 7 is bad") as raised:
            next(items)
    assert "failing" in "".join(traceback.format_tb(raised.value.__traceback__))
    assert prefetch_threads() == []


@pytest.fixture(params=[True, False], ids=["ahead", "on demand"])
def collates_ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swiftbox.core.training.loader.has_accelerator", lambda: request.param)


def row(number: int) -> TokenRow:
    ids = np.full(3, number, np.int32)
    return TokenRow(ids, ids)


def loader_of(rows: int, shape: UpdateShape, micro_units: int) -> TrainingLoader:
    dataset = UnitDataset([[row(number)] for number in range(rows)])

    def collate(units: Any) -> dict[str, Any]:
        return {"input_ids": torch.tensor(np.stack([unit[0].input_ids for unit in units]))}

    functions: Any = (collate, lambda units: sum(unit[0].trained for unit in units))
    return TrainingLoader(dataset, EpochSampler(rows, seed=1), shape, micro_units, functions)


def updates_of(loader: TrainingLoader, first: int = 0) -> list[list[list[int]]]:
    """Return the rows of each micro-batch of each update."""
    with loader.epoch(0, first) as updates:
        epoch = []
        for _ in range(first, loader.updates):
            assert updates.terms() > 0
            batches = [batch.inputs["input_ids"][:, 0] for batch in updates.micro_batches()]
            epoch.append([batch.tolist() for batch in batches])
    return epoch


def flat(update: list[list[int]]) -> list[int]:
    return [number for batch in update for number in batch]


@pytest.mark.usefixtures("collates_ahead")
def test_a_split_changes_no_update() -> None:
    large = updates_of(loader_of(22, UpdateShape(8), 8))
    small = updates_of(loader_of(22, UpdateShape(8), 3))
    assert [len(update) for update in small] == [3, 3, 2]
    assert list(map(flat, small)) == list(map(flat, large))
    assert sorted(number for update in large for number in flat(update)) == list(range(22))
    assert updates_of(loader_of(22, UpdateShape(8), 3), first=2) == small[2:]


@pytest.mark.usefixtures("collates_ahead")
def test_several_processes_share_the_rows_of_each_update() -> None:
    alone = updates_of(loader_of(22, UpdateShape(8), 4))
    pair = [updates_of(loader_of(22, UpdateShape(4, number, 2), 2)) for number in range(2)]
    for update, first, second in zip(alone, *pair, strict=True):
        assert sorted(flat(first) + flat(second)) == sorted(flat(update))
    uneven = [updates_of(loader_of(9, UpdateShape(4, number, 2), 4)) for number in range(2)]
    assert [[len(flat(update)) for update in part] for part in uneven] == [[4, 1], [4, 1]]


@pytest.mark.usefixtures("collates_ahead")
def test_an_update_can_begin_again_with_a_smaller_split() -> None:
    loader = loader_of(16, UpdateShape(8), 8)
    expected = updates_of(loader_of(16, UpdateShape(8), 2))
    with loader.epoch(0) as updates:
        first = next(updates.micro_batches())  # it failed, so no further one is asked for
        assert len(first.inputs["input_ids"]) == 8
        updates.split(2)
        measured = [
            [batch.inputs["input_ids"][:, 0].tolist() for batch in updates.micro_batches()]
            for _ in range(2)
        ]
    assert measured == expected
    assert len(loader) == 2  # micro-batches before the split, from which steps are counted


def test_held_out_batches_stay_within_the_tokens_and_hold_every_row_once() -> None:
    chooser = np.random.default_rng(0)
    lengths = chooser.integers(2, 100, 60).tolist()
    units = [[TokenRow(*[np.arange(length, dtype=np.int32)] * 2)] for length in lengths]
    batches = batches_by_tokens(units, 128)
    areas = [len(batch) * max(len(unit[0]) for unit in batch) for batch in batches]
    assert max(areas) <= 128
    assert len(batches) < 40
    assert sorted(id(unit) for batch in batches for unit in batch) == sorted(map(id, units))
    assert [len(batch) for batch in batches_by_tokens(units, 1)] == [1] * 60


def test_every_process_evaluates_equally_many_batches() -> None:
    batches = [[[row(number)]] for number in range(5)]
    shares = [list(share_of(batches, number, 2)) for number in range(2)]
    assert [len(share) for share in shares] == [3, 3]
    assert [batch.counts for share in shares for batch in share].count(False) == 1


@pytest.mark.parametrize(("rows", "processes"), [(1, 4), (3, 8), (5, 4)])
def test_every_process_gets_as_many_units_however_few_there_are(rows: int, processes: int) -> None:
    shares = [
        updates_of(loader_of(rows, UpdateShape(2, number, processes), 1))
        for number in range(processes)
    ]
    sizes = [[len(micro) for update in share for micro in update] for share in shares]
    assert all(size == sizes[0] for size in sizes)
    assert sizes[0]
    seen = {row for share in shares for update in share for micro in update for row in micro}
    assert len(seen) == rows
