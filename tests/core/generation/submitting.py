"""Start schedulers, submit requests to them, and compare with plain generation."""

from __future__ import annotations

import queue
from typing import Any

import torch
from box import HANG_S

from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.network import BASE, Network
from swiftbox.core.generation.requests import Delta, Request, SchedulerLimits
from swiftbox.core.generation.sampling import Sampling
from swiftbox.core.generation.scheduler import Scheduler

PHRASE = "The json module encodes and decodes what others wrote and it is lightweight too".split()
"""For the next piece of any answer; the tests check what arrives, not when."""


def start_scheduler(
    network: Network, *, path: DecodePath | None = None, **limits: int
) -> Scheduler:
    """Start a scheduler; `rows` and `queue` are required."""
    settings = SchedulerLimits(**{"length": 1024, "cells": 100_000, **limits})
    scheduler = Scheduler(network, settings, path or DecodePath())
    scheduler.start()
    return scheduler


class SubmittedRequest:
    """A request and everything that is delivered of it."""

    def __init__(self, scheduler: Scheduler, prompt: list[int], *samplings: Sampling, **keys: str):
        self.deltas: queue.Queue[Delta] = queue.Queue()
        self.count = len(samplings)
        self.begun: list[Delta] = []
        request = Request(prompt, samplings, keys.get("adapter", BASE), self.deltas.put)
        self.ticket = scheduler.submit(request)

    def first(self) -> None:
        """Wait until a first piece has arrived."""
        if not self.begun:
            self.begun.append(self.deltas.get(timeout=HANG_S))

    def wait(self) -> list[list[Delta]]:
        answers: list[list[Delta]] = [[] for _ in range(self.count)]
        for delta in self.begun:
            answers[delta.index].append(delta)
        while not all(answer and answer[-1].finish for answer in answers):
            delta = self.deltas.get(timeout=HANG_S)
            answers[delta.index].append(delta)
        return answers

    def text(self, index: int = 0) -> str:
        return "".join(delta.text for delta in self.wait()[index])


def prompts(network: Network, count: int) -> list[list[int]]:
    tokenizer = network.tokenizers[BASE]
    return [
        tokenizer(" ".join(PHRASE[index % 7 :]) * (1 + index % 3)).input_ids
        for index in range(count)
    ]


def greedy(count: int = 24, **keys: Any) -> Sampling:
    return Sampling(max_tokens=count, temperature=0.0, **keys)


def generated(model: Any, tokenizer: Any, prompt: list[int], count: int = 24) -> str:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False
    )
    return tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)
