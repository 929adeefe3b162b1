"""Keys and values that overflowed end with their sequence; the next one in its slot is right."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from box import HANG_S
from recorded_steps import Recorder, path_with
from submitting import SubmittedRequest, generated, greedy, prompts, start_scheduler
from transformers import AutoModelForCausalLM

from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.slot_cache import SlotCache

LENGTHS = ((60, 4), (120, 40), (12, 30), (6, 12), (40, 5), (3, 8))
"""Tokens of prompts and answers: the first leaves first, and the third takes its slot."""


def overflow_when_leaving(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let all keys and values of each sequence that ends be NaN; return the slots so far."""
    slots: list[int] = []

    def overflow(cache: Any, row: int) -> None:
        columns = (
            slice(0, cache.lengths[row])
            if isinstance(cache, SlotCache)
            else slice(cache.starts[row], cache.end)
        )
        for layer in cache.layers:
            layer.keys[row, :, columns] = torch.nan
            layer.values[row, :, columns] = torch.nan
        slots.append(row)

    for kind in (BatchCache, SlotCache):
        leave: Any = kind.leave

        def overflowed(cache: Any, row: int, leave: Any = leave) -> None:
            overflow(cache, row)
            leave(cache, row)

        monkeypatch.setattr(kind, "leave", overflowed)
    return slots


@pytest.mark.parametrize("static", [False, True], ids=["growing", "slots"])
def test_a_sequence_that_overflowed_does_not_change_the_next_one_in_its_slot(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, *, static: bool
) -> None:
    network = Network(LoadSettings(tiny, "float32", "cpu"))
    path = path_with(network, Recorder()) if static else DecodePath()
    slots = overflow_when_leaving(monkeypatch)
    scheduler = start_scheduler(network, rows=3, queue=9, path=path)
    submitted = threading.Event()
    scheduler.call(lambda: submitted.wait(HANG_S))  # the first three join together
    ids = prompts(network, 1)[0] * 20
    cases = [(ids[start : start + length], count) for start, (length, count) in enumerate(LENGTHS)]
    requests = [SubmittedRequest(scheduler, prompt, greedy(count)) for prompt, count in cases]
    submitted.set()
    answers = [request.text() for request in requests]
    scheduler.close(0)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tokenizer = network.tokenizers[BASE]
    assert answers == [generated(plain, tokenizer, prompt, count) for prompt, count in cases]
    assert len(slots) == len(LENGTHS)
    assert slots[0] == 0  # so that the last slot moves to its place
