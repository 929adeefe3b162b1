"""A host that lacks the memory to load a model is found before the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.devices.machine import Machine
from swiftbox.fit.estimate import Estimate, estimate
from swiftbox.plan import plan
from swiftbox.tasks.load import loads

GIB = 2**30
LARGE = "Qwen/Qwen2.5-72B-Instruct"
SMALL = "Qwen/Qwen2.5-7B-Instruct"


def with_host(description: str, gib: float) -> Machine:
    """Return a machine whose host has that much free memory."""
    return replace(hypothetical_machine(description), memory_free_bytes=round(gib * GIB))


def estimated(machine: Machine, *overrides: str) -> Estimate:
    usual = ["dataset=owner/rows", "report_to=none", "gradient_checkpointing=true", *overrides]
    config: Any = plan(loads("", source="test", overrides=usual).config, machine).config
    result = estimate(config, machine)
    assert result is not None
    return result


FULL = (f"model={SMALL}", "tuner_type=full")
DDP = ("model=Qwen/Qwen2.5-0.5B-Instruct", "tuner_type=full", "distributed=ddp")


@pytest.mark.parametrize(
    ("devices", "gib", "overrides", "outcome"),
    [
        ("cuda:80", 8, (f"model={LARGE}", "tuner_type=qlora"), "fits"),  # one tensor at a time
        ("cuda:80", 2, (f"model={LARGE}", "tuner_type=qlora"), "no"),
        ("cuda:80x4", 8, (f"model={SMALL}", "distributed=fsdp"), "fits"),  # mapped, not copied
        ("cuda:80x4", 4, (f"model={SMALL}", "distributed=fsdp"), "no"),  # the libraries alone
        ("cuda:80x8", 250, (*FULL, "distributed=fsdp"), "fits"),
        ("cuda:80x8", 200, (*FULL, "distributed=fsdp"), "no"),  # a float32 model per process
        ("cuda:80x8", 40, DDP, "fits"),  # four tensors at a time
        ("cuda:80x8", 20, DDP, "no"),
    ],
)
def test_the_host_decides_too(
    devices: str, gib: float, overrides: tuple[str, ...], outcome: str
) -> None:
    assert estimated(with_host(devices, gib), *overrides).verdict.outcome == outcome


@pytest.mark.parametrize("machine", ["cpu:64", "mps:32"])
def test_memory_that_devices_share_is_counted_once(machine: str) -> None:
    verdict = estimated(hypothetical_machine(machine), "model=Qwen/Qwen2.5-0.5B-Instruct").verdict
    assert verdict.host is None
    assert verdict.to_dict()["host_need_bytes"] is None


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "does not fit: to load the model, the host needs "),
        ("zh", "放不下：8 个进程加载模型共需主机内存 "),
    ],
)
def test_the_reason_names_the_host(
    language: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    result = estimated(with_host("cuda:80x8", 200), *FULL, "distributed=fsdp")
    assert result.lines()[0].startswith(line)
    assert result.verdict.need_bytes < result.verdict.have_bytes


def test_a_change_that_the_host_can_load_is_proposed() -> None:
    result = estimated(with_host("cuda:80x8", 200), *FULL, "distributed=fsdp")
    assert result.proposal is not None
    assert result.proposal.verdict.outcome == "fits"
    assert result.proposal.verdict.host is not None
    assert result.proposal.verdict.host.fits
