"""The builtin server's steps on the device: replayed as graphs, and equal to computed ones."""

from __future__ import annotations

import queue
from typing import Any

import pytest
import torch
from on_device import OnDevice
from transformers import AutoModelForCausalLM

from swiftbox.core.generation.decode_paths import choose_path
from swiftbox.core.generation.device_access import has_graphs
from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.requests import Delta, Request, SchedulerLimits
from swiftbox.core.generation.sampling import Sampling
from swiftbox.core.generation.scheduler import Scheduler

PROMPTS = [[5, 17, 40, 9, 33, 21], [7, 8, 9], list(range(5, 60))]
TOKENS = 40


@pytest.mark.gpu("serve_transformers")
def test_steps_are_replayed_and_answer_as_generate(on_device: OnDevice) -> None:
    network = Network(LoadSettings(on_device.model, "float32", on_device.torch_device))
    warnings: list[str] = []
    path = choose_path(network, warnings.append)
    limits = SchedulerLimits(rows=4, queue=9, length=512, cells=20_000)
    scheduler = Scheduler(network, limits, path)
    scheduler.start()
    greedy = Sampling(max_tokens=TOKENS, temperature=0.0, logprobs=0)
    answers: list[queue.Queue[Delta]] = [queue.Queue() for _ in PROMPTS]
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        scheduler.submit(Request(prompt, [greedy], BASE, answer.put))
    tokens = [tokens_of(answer) for answer in answers]
    scheduler.close(0)
    plain = AutoModelForCausalLM.from_pretrained(on_device.model, dtype=torch.float32)
    assert tokens == [
        generated(plain.to(on_device.torch_device), prompt, on_device) for prompt in PROMPTS
    ]
    assert warnings == []
    assert path.is_static == has_graphs(network.model.device)
    if path.graphs is not None:
        assert path.graphs.captured > 0


def tokens_of(answer: queue.Queue[Delta]) -> list[int]:
    """Return the tokens of an answer, once it is complete."""
    tokens: list[int] = []
    while True:
        delta = answer.get(timeout=300)
        tokens += [log.token for log in delta.logs]
        if delta.finish:
            assert delta.finish == "length", delta
            return tokens


def generated(plain: Any, prompt: list[int], on_device: OnDevice) -> list[int]:
    """Return the tokens of transformers' generate."""
    ids = torch.tensor([prompt], device=on_device.torch_device)
    settings = {"do_sample": False, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
    output = plain.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **settings)
    return [int(token) for token in output[0, len(prompt) :]]
