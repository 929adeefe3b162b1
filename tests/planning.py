"""Plans on made-up machines, as the tests of the planner make and read them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.example import Example
from swiftbox.data.lengths import BYTES_PER_TOKEN, Lengths
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.devices.machine import Machine
from swiftbox.fit.profile import profile_model
from swiftbox.fit.workload import Workload
from swiftbox.plan import Plan, plan
from swiftbox.tasks.load import loads

SMALL, MEDIUM, LARGE = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "Qwen/Qwen3-8B"
CARD = {24: "NVIDIA GeForce RTX 4090", 80: "NVIDIA H100 80GB HBM3"}


def chats(longest: float = 1500.0) -> Lengths:
    """Return the lengths of a mixture of chats: most are short, a few are long."""
    chooser, lengths = random.Random(0), Lengths()
    for _ in range(300):
        tokens = min(longest, chooser.lognormvariate(5.2, 0.8))
        lengths.add(Example(text="x" * round(tokens * BYTES_PER_TOKEN)))
    lengths.taken = lengths.good_rows
    return lengths


def card(gib: int) -> Machine:
    machine = hypothetical_machine(f"cuda:{gib}")
    devices = tuple(replace(device, name=CARD[gib]) for device in machine.devices)
    return replace(machine, devices=devices)


def request(*overrides: str) -> TrainConfig:
    usual = ["dataset=owner/rows", "report_to=none", "val_size=0", *overrides]
    config = loads("", source="test", overrides=usual).config
    assert isinstance(config, TrainConfig)
    return config


def planned(machine: Machine, model: str, *overrides: str, **workload: Any) -> Plan:
    known = {"model": profile_model(model), "lengths": chats(), **workload}
    return plan(request(f"model={model}", *overrides), machine, Workload(**known))


def settled(result: Plan) -> TrainConfig:
    assert isinstance(result.config, TrainConfig)
    return result.config


def reason(result: Plan, key: str) -> str:
    return next(note.why for note in result.notes if note.key == key)


FULL = ("tuner_type=full", "max_length=1024")


def with_memory(machine: Machine, gib: int) -> Any:
    return replace(machine.devices[0], memory_bytes=gib * 2**30, free_bytes=gib * 2**30)


def prepared(gib: int, free_gib: int | None = None) -> Machine:
    """Return a card with bitsandbytes, in a host with this much free memory."""
    machine = card(80)
    return replace(
        machine,
        devices=(with_memory(machine, gib),),
        versions={**machine.versions, "bitsandbytes": "0.50.2"},
        memory_free_bytes=free_gib * 2**30 if free_gib else machine.memory_free_bytes,
    )


def texts(tokens: int) -> Lengths:
    lengths = Lengths()
    for _ in range(100):
        lengths.add(Example(text="x" * round(tokens * BYTES_PER_TOKEN)))
    lengths.taken = lengths.good_rows
    return lengths
