"""The planner settles only what goes together, and keeps what was requested together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from planning import FULL, LARGE, MEDIUM, SMALL, card, planned, prepared, settled

from swiftbox.config.combinations import conflicts

JOBS = {
    "lora": (),
    "qlora": ("tuner_type=qlora",),
    "full": FULL,
    "pure bf16": (*FULL, "pure_bf16=true"),
    "compiled": ("torch_compile=true",),
    "compiled full": (*FULL, "torch_compile=true"),
    "sharded": (*FULL, "distributed=fsdp"),
    "offloaded": ("activation_offload=true",),
    "selective": ("gradient_checkpointing=selective",),
    "preferences": ("stage=dpo",),
}


@pytest.mark.parametrize("overrides", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("gib", [16, 24, 32, 80])
def test_what_the_planner_settles_excludes_nothing_of_itself(
    gib: int, overrides: Sequence[str]
) -> None:
    machine = prepared(gib)
    if "distributed=fsdp" in overrides:
        machine = replace(machine, devices=(machine.devices[0], machine.devices[0]))
    assert list(conflicts(settled(planned(machine, MEDIUM, *overrides)))) == []


def test_bfloat16_weights_keep_an_optimizer_that_rounds_their_updates() -> None:
    for gib in (16, 20, 24, 28):
        config = settled(planned(prepared(gib), MEDIUM, *JOBS["pure bf16"]))
        assert config.optim in ("adamw_torch_fused", "adamw_8bit"), gib


def test_selective_recomputation_and_offloading_that_are_requested_are_planned_together() -> None:
    both = ("gradient_checkpointing=selective", "activation_offload=true")
    result = planned(card(80), SMALL, *both)
    assert settled(result).micro_batch > 1
    assert (settled(result).gradient_checkpointing, settled(result).activation_offload) == (
        "selective",
        True,
    )


@pytest.mark.parametrize("key", ["gradient_checkpointing=selective", "activation_offload=true"])
def test_only_one_of_the_two_is_never_completed_by_the_other(key: str) -> None:
    for gib in (16, 24, 80):
        config = settled(planned(prepared(gib), LARGE, key))
        assert not (config.gradient_checkpointing == "selective" and config.activation_offload)
