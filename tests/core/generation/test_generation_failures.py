"""If memory runs out, others continue; if the device fails, everything ends and says so."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from box import HANG_S, until
from recorded_steps import path_with
from submitting import SubmittedRequest, greedy, prompts, start_scheduler

from swiftbox.core.generation import device_access, device_watch
from swiftbox.core.generation.batch import Prefill
from swiftbox.core.generation.cell_limit import CellLimit
from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.core.generation.requests import (
    DEVICE_FAILURE,
    OUT_OF_MEMORY,
    Delta,
    ShuttingDown,
)
from swiftbox.core.generation.sampling import Sampling
from swiftbox.core.generation.slot_cache import SlotCache


@pytest.fixture(scope="module")
def network(tiny: Path) -> Network:
    return Network(LoadSettings(tiny, "float32", "cpu"))


def limit_caches(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Let caches of more cells run out of memory."""
    for kind in (BatchCache, SlotCache):
        grow: Any = kind.make_room

        def limited(self: Any, rows: int = 0, length: int = 0, grow: Any = grow) -> None:
            grow(self, rows, length)
            if self.row_capacity * self.column_capacity > cells:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        monkeypatch.setattr(kind, "make_room", limited)


@pytest.mark.parametrize("static", [False, True], ids=["growing", "slots"])
def test_answers_that_do_not_fit_together_are_given_one_after_the_other(
    network: Network, monkeypatch: pytest.MonkeyPatch, *, static: bool
) -> None:
    def answers() -> tuple[list[str], int]:
        path = path_with(network, None) if static else DecodePath()
        scheduler = start_scheduler(network, rows=5, queue=9, path=path, cells=5_000)
        samplings = [Sampling(max_tokens=20 + index, seed=index) for index in range(5)]
        requests = [
            SubmittedRequest(scheduler, prompt, sampling)
            for prompt, sampling in zip(prompts(network, 5), samplings, strict=True)
        ]
        texts = [request.text() for request in requests]
        scheduler.close(0)
        assert scheduler.counters.failed == 0
        return texts, scheduler.counters.out_of_memory

    expected, failures = answers()
    assert failures == 0
    limit_caches(monkeypatch, 1_000)
    limited, failures = answers()
    assert limited == expected
    assert failures > 0


def test_a_prompt_that_never_fits_is_refused_and_others_are_answered(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Prefill.step

    def limited(self: Prefill, model: Any, tokens: int) -> Any:
        if self.ids.shape[1] > 300:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return read(self, model, tokens)

    monkeypatch.setattr(Prefill, "step", limited)
    scheduler = start_scheduler(network, rows=4, queue=9)
    short = prompts(network, 1)[0]
    first = SubmittedRequest(scheduler, short, greedy(60))
    large = SubmittedRequest(scheduler, (short * 40)[:400], greedy(4))
    later = SubmittedRequest(scheduler, short, greedy(60))
    (delta,) = large.wait()[0]
    assert (delta.finish, delta.error) == ("error", OUT_OF_MEMORY)
    assert first.text() == later.text() != ""
    assert scheduler.alive
    scheduler.close(0)


def test_a_failed_device_ends_all_requests_and_the_loop(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "CUDA error: device-side assert triggered"
    submitted = threading.Event()

    def fail(*_: Any) -> Any:
        assert submitted.wait(HANG_S)
        raise torch.AcceleratorError(message)

    scheduler = start_scheduler(network, rows=1, queue=9)
    monkeypatch.setattr(BatchCache, "forward", fail)
    monkeypatch.setattr(device_access, "device_failure", lambda _: message)
    requests = [SubmittedRequest(scheduler, prompts(network, 1)[0], greedy(9)) for _ in range(2)]
    submitted.set()
    last: list[Delta] = [request.wait()[0][-1] for request in requests]
    assert [(delta.finish, delta.error) for delta in last] == [("error", DEVICE_FAILURE)] * 2
    scheduler._thread.join(HANG_S)
    assert (scheduler.alive, scheduler.failure) == (False, message)
    with pytest.raises(ShuttingDown):
        SubmittedRequest(scheduler, [1, 2], greedy(1))


def test_another_error_of_a_step_ends_its_requests_only(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler(network, rows=2, queue=9)
    with monkeypatch.context() as patch:
        patch.setattr(Prefill, "step", lambda *_: 1 // 0)
        (delta,) = SubmittedRequest(scheduler, [5, 6, 7], greedy(3)).wait()[0]
    assert (delta.finish, delta.error) == ("error", "ZeroDivisionError")
    assert SubmittedRequest(scheduler, [5, 6, 7], greedy(3)).text() != ""
    assert scheduler.failure == ""
    scheduler.close(0)


def test_a_device_that_computes_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_access.device_failure(torch.device("cpu")) == ""

    def fail(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access\nCUDA kernel errors")

    monkeypatch.setattr(torch, "ones", fail)
    assert device_access.device_failure(torch.device("cpu")) == (
        "CUDA error: an illegal memory access"
    )


def test_memory_is_freed_although_the_error_is_still_held() -> None:
    import weakref

    references = []

    def allocate() -> None:
        large = torch.zeros(10)
        references.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError) as raised:
        allocate()
    assert references[0]() is not None
    device_access.release_memory(raised.value)
    assert references[0]() is None


def test_a_limit_that_memory_lowered_recovers_more_slowly_each_time() -> None:
    limit, waits = CellLimit(1_000), []
    for _ in range(3):
        limit.lower(1_000)
        assert limit.cells == 750
        waits.append(0)
        while limit.cells < limit.configured:
            limit.succeed()
            waits[-1] += 1
    assert waits[1:] == [2 * waits[0], 4 * waits[0]]


def test_an_idle_device_is_probed_seldom_and_its_failure_ends_the_loop(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[str] = []

    def probed(_: Any) -> str:
        probes.append(threading.current_thread().name)
        return message if len(probes) > 1 else ""

    message = "CUDA error: unspecified launch failure"
    monkeypatch.setattr(device_access, "device_failure", probed)
    scheduler = start_scheduler(network, rows=1, queue=9)
    for _ in range(3):
        scheduler.probe_if_idle()
    until(lambda: probes == ["device-watch"], what="a probe beside the loop")
    assert scheduler.alive
    monkeypatch.setattr(device_watch, "INTERVAL_S", 0.0)
    until(lambda: scheduler.probe_if_idle() or not scheduler.alive, what="the end of the loop")
    assert scheduler.failure == message
