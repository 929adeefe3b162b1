"""Short requests are answered while long prompts are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_steps import path_with
from submitting import SubmittedRequest, generated, greedy, prompts, start_scheduler

from swiftbox.core.generation.batch import Prefill
from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.reading_pace import OTHERS_SHARE, SHORT_PROMPT, ReadingPace


@pytest.fixture(scope="module")
def network(tiny: Path) -> Network:
    return Network(LoadSettings(tiny, "float32", "cpu"))


def long_prompt(network: Network) -> list[int]:
    return (prompts(network, 1)[0] * 40)[:1000]


def after_parts(monkeypatch: pytest.MonkeyPatch, call: Callable[[Prefill], None]) -> None:
    """Call a function in the loop's thread after each part of a prompt."""
    read = Prefill.step

    def watched(self: Prefill, model: Any, tokens: int) -> torch.Tensor | None:
        logits = read(self, model, tokens)
        call(self)
        return logits

    monkeypatch.setattr(Prefill, "step", watched)


@pytest.mark.parametrize("static", [False, True], ids=["growing", "slots"])
def test_a_short_prompt_is_answered_while_a_long_one_is_read(
    network: Network, monkeypatch: pytest.MonkeyPatch, *, static: bool
) -> None:
    scheduler = start_scheduler(
        network, rows=6, queue=9, path=path_with(network, None) if static else DecodePath()
    )
    short: list[SubmittedRequest] = []
    finished: list[bool] = []

    def submit_short(prefill: Prefill) -> None:
        if prefill.is_long and not short:
            short.append(SubmittedRequest(scheduler, prompts(network, 2)[1], greedy(2)))
        elif prefill.is_long and prefill.is_read:
            finished.append(any(delta.finish for delta in short[0].deltas.queue))

    after_parts(monkeypatch, submit_short)
    long = SubmittedRequest(scheduler, long_prompt(network), greedy(8))
    tokenizer = network.tokenizers[BASE]
    assert long.text() == generated(network.model, tokenizer, long_prompt(network), 8)
    assert short[0].text() == generated(network.model, tokenizer, prompts(network, 2)[1], 2)
    scheduler.close(0)
    assert finished == [True]


def test_a_short_prompt_waits_where_it_would_take_the_space_of_the_long_one(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler(network, rows=6, queue=9, cells=1200)
    order: list[int] = []
    short: list[SubmittedRequest] = []

    def submit_short(prefill: Prefill) -> None:
        order.append(prefill.length)
        if not short:
            short.append(SubmittedRequest(scheduler, prompts(network, 2)[1], greedy(2)))

    after_parts(monkeypatch, submit_short)
    SubmittedRequest(scheduler, long_prompt(network), greedy(8)).wait()
    short[0].wait()
    scheduler.close(0)
    assert order[-1] < SHORT_PROMPT
    assert {*order[:-1]} == {1000}
    assert scheduler.counters.sent_back == 0


def test_a_short_prompt_that_fails_leaves_the_long_one(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start_scheduler(network, rows=6, queue=9)
    short: list[SubmittedRequest] = []

    def submit_short(prefill: Prefill) -> None:
        if not prefill.is_long:
            raise ZeroDivisionError
        if not short:
            short.append(SubmittedRequest(scheduler, prompts(network, 2)[1], greedy(2)))

    after_parts(monkeypatch, submit_short)
    long = SubmittedRequest(scheduler, long_prompt(network), greedy(8))
    tokenizer = network.tokenizers[BASE]
    assert long.text() == generated(network.model, tokenizer, long_prompt(network), 8)
    assert short[0].wait()[0][-1].error == "ZeroDivisionError"
    scheduler.close(0)


@pytest.mark.parametrize("cancelled", ["short", "long"])
def test_a_request_that_is_cancelled_while_a_long_prompt_is_read_holds_nobody_up(
    network: Network, monkeypatch: pytest.MonkeyPatch, cancelled: str
) -> None:
    scheduler = start_scheduler(network, rows=2, queue=9)
    requests: list[SubmittedRequest] = []
    parts: list[int] = []

    def submit_and_cancel(prefill: Prefill) -> None:
        if prefill.is_long:
            parts.append(prefill.done)
        if len(parts) == 1 and len(requests) == 1:
            requests.append(SubmittedRequest(scheduler, prompts(network, 2)[1], greedy(200)))
        elif len(requests) == 2:
            scheduler.cancel(requests[cancelled == "short"].ticket)

    after_parts(monkeypatch, submit_and_cancel)
    with scheduler._changed:  # the first part is read after the request is in the list
        requests.append(SubmittedRequest(scheduler, long_prompt(network), greedy(8)))
    ends = {
        name: request.wait()[0][-1]
        for name, request in zip(("long", "short"), requests, strict=True)
    }
    assert ends[cancelled].finish == "cancelled"
    assert {end.finish for end in ends.values()} == {"cancelled", "length"}
    assert (parts[-1] == 1000) == (cancelled == "short")
    again = SubmittedRequest(scheduler, prompts(network, 1)[0], greedy(2), greedy(2))
    assert len(again.wait()) == 2
    assert scheduler.running == 0
    scheduler.close(0)


def test_after_a_part_the_others_have_a_multiple_of_its_time() -> None:
    now = [10.0]

    def read() -> str:
        now[0] += 3.0
        return "logits"

    pace = ReadingPace(torch.device("cpu"), lambda: now[0])
    assert pace.may_read()
    assert pace.run(read) == "logits"
    now[0] += 3.0 * OTHERS_SHARE - 0.5
    assert not pace.may_read()
    now[0] += 0.5
    assert pace.may_read()


@pytest.mark.parametrize(("length", "part"), [(1, 1), (512, 512), (513, 128), (9000, 128)])
def test_only_long_prompts_are_read_in_several_parts(length: int, part: int) -> None:
    assert ReadingPace(torch.device("cpu")).part(length) == part
