"""If the caches outgrow their space, few sequences are sent back, once, and all end as alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from recorded_steps import path_with
from submitting import SubmittedRequest, greedy, prompts, start_scheduler

from swiftbox.core.generation import reading_pace
from swiftbox.core.generation.batch import PrefillEntry
from swiftbox.core.generation.decode_batches import DecodeBatches
from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.reading_pace import SHORT_PROMPT, ReadingPace
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.core.generation.slot_cache import SlotCache

CELLS = 20_000


@pytest.fixture(scope="module")
def network(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Network:
    network = Network(LoadSettings(tiny, "float32", "cpu"))
    network.add("a", make_adapter(tiny, tmp_path_factory.mktemp("a"), seed=1))
    return network


class Watched:
    """What happens to caches and sequences while a scheduler runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.largest = 0
        self.moves = 0
        self.ended: list[int] = []
        """How many sequences ended before each sending back of one that was sent back before."""
        self.last: dict[tuple[float, int], int] = {}
        preempt: Any = DecodeBatches.preempt
        resize: Any = SlotCache._resize
        send_back: Any = Scheduler._send_back

        def watched_preempt(batches: DecodeBatches, adapter: str) -> list[PrefillEntry]:
            entries: list[PrefillEntry] = preempt(batches, adapter)
            self.largest = max(self.largest, batches._used())
            return entries

        def watched_resize(cache: SlotCache, capacity: tuple[int, int]) -> None:
            self.moves += bool(cache.lengths)
            resize(cache, capacity)

        def watched_send_back(scheduler: Scheduler, entries: list[PrefillEntry]) -> None:
            for entry in entries:
                age = entry.rows[0].age
                if age in self.last:
                    self.ended.append(scheduler._ended_rows - self.last[age])
                self.last[age] = scheduler._ended_rows
            send_back(scheduler, entries)

        monkeypatch.setattr(DecodeBatches, "preempt", watched_preempt)
        monkeypatch.setattr(SlotCache, "_resize", watched_resize)
        monkeypatch.setattr(Scheduler, "_send_back", watched_send_back)


def long_answers(network: Network, cells: int) -> tuple[list[str], int]:
    """Return the answers of 12 requests to two adapters, and how many were sent back."""
    path = path_with(network, None)
    scheduler = start_scheduler(network, rows=12, queue=20, length=4096, cells=cells, path=path)
    long = [(prompt * 300)[:1400] for prompt in prompts(network, 12)]
    names = [BASE, "a"] * 6
    requests = [
        SubmittedRequest(scheduler, prompt, greedy(270 if index < 2 else 240), adapter=name)
        for index, (prompt, name) in enumerate(zip(long, names, strict=True))
    ]
    texts = [request.text() for request in requests]
    scheduler.close(0)
    return texts, scheduler.counters.sent_back


def test_caches_at_their_limit_send_few_sequences_back_and_move_seldom(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prompts are read in few parts, one before each step: the times of this machine decide nothing.
    monkeypatch.setattr(reading_pace, "HOST_PART", SHORT_PROMPT)
    monkeypatch.setattr(ReadingPace, "may_read", lambda _: True)
    watched = Watched(monkeypatch)
    texts, sent_back = long_answers(network, CELLS)
    assert watched.largest <= CELLS
    assert 0 < sent_back <= 3
    assert watched.moves <= 12
    assert all(watched.ended)
    assert texts == long_answers(network, 100_000)[0]


@pytest.mark.parametrize("static", [False, True], ids=["growing", "slots"])
@pytest.mark.parametrize("seed", range(2))
def test_requests_at_random_times_end_as_alone(
    network: Network, monkeypatch: pytest.MonkeyPatch, seed: int, *, static: bool
) -> None:
    chooser = random.Random(seed)
    cases = [
        (
            [chooser.randrange(5, 500) for _ in range(chooser.randint(2, 100))],
            greedy(chooser.randint(1, 50)),
            chooser.choice([BASE, "a"]),
        )
        for _ in range(9)
    ]

    def answers(cells: int, rows: int) -> tuple[list[str], Scheduler]:
        path = path_with(network, None) if static else DecodePath()
        scheduler = start_scheduler(
            network, rows=rows, queue=99, length=512, cells=cells, path=path
        )
        requests = []
        for prompt, sampling, adapter in cases:
            requests.append(SubmittedRequest(scheduler, prompt, sampling, adapter=adapter))
            if chooser.random() < 0.3:
                requests[chooser.randrange(len(requests))].first()
        texts = [request.text() for request in requests]
        scheduler.close(0)
        return texts, scheduler

    alone, _ = answers(100_000, 1)
    watched = Watched(monkeypatch)
    together, scheduler = answers(500, 6)
    assert together == alone
    assert watched.largest <= 500
    assert all(watched.ended)
    assert scheduler.counters.failed == 0
