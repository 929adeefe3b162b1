"""What waits in main memory instead of on a device is planned only if there is room."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning import FULL, LARGE, MEDIUM, SMALL, chats, planned, prepared, reason, settled, texts

from swiftbox.fit.candidates import BATCH, OPTIMIZER
from swiftbox.fit.estimate import estimate
from swiftbox.fit.host_memory import waiting_bytes
from swiftbox.fit.memory import OFFLOADED_LAYERS, Recipe, saved_activations
from swiftbox.fit.profile import profile_model
from swiftbox.fit.verdict import assess_fit


def test_activations_wait_in_main_memory_only_if_it_has_room_for_them() -> None:
    long_rows = {"lengths": texts(20000)}
    roomy = planned(prepared(32), LARGE, "max_length=65536", **long_rows)
    assert settled(roomy).activation_offload
    small = planned(prepared(32, free_gib=8), LARGE, "max_length=65536", **long_rows)
    assert not settled(small).activation_offload
    assert "activation_offload: true would fit the device, but 9.0 GiB" in reason(small, BATCH)
    forced = planned(
        prepared(40, free_gib=8), LARGE, "max_length=65536", "activation_offload=true", **long_rows
    )
    assert "nothing fits: 9.0 GiB would wait in main memory" in reason(forced, BATCH)


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "does not fit: 9.0 GiB would wait in main memory, of which 4.0 GiB may be taken; "),
        ("zh", "放不下：主机内存中需存放 9.0 GiB，而可用于此的只有 4.0 GiB；每个设备需 "),
    ],
)
def test_the_estimate_tells_what_main_memory_lacks_for_what_waits(
    language: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    machine = prepared(40, free_gib=8)
    keys = ("max_length=26000", "activation_offload=true")
    config = settled(planned(machine, LARGE, *keys, lengths=None))
    result = estimate(config, machine)
    assert result is not None
    assert result.lines()[0].startswith(line)
    assert result.verdict.outcome == "no"
    assert result.verdict.need_bytes < result.verdict.have_bytes
    assert result.to_dict()["waiting_bytes"] == 9 * 2**30


def test_a_change_that_main_memory_has_room_for_is_proposed() -> None:
    machine = prepared(80, free_gib=8)
    keys = ("max_length=10000", "activation_offload=true", "gradient_checkpointing=false")
    config = settled(planned(machine, SMALL, *keys, lengths=None))
    result = estimate(config, machine)
    assert result is not None
    assert result.proposal is not None
    assert result.proposal.settings() == "activation_offload=false"
    assert result.proposal.verdict.outcome == "fits"


@pytest.mark.parametrize("free_gib", [8, 256])
@pytest.mark.parametrize("optimizer", ["auto", "paged_adamw_8bit"])
@pytest.mark.parametrize("offload", ["true", "false"])
def test_plan_and_verdict_agree_on_what_main_memory_has_room_for(
    free_gib: int, optimizer: str, offload: str
) -> None:
    keys = (*FULL, f"optim={optimizer}", f"activation_offload={offload}")
    for gib in (24, 48, 80):
        machine = prepared(gib, free_gib)
        result = planned(machine, MEDIUM, *keys)
        profile = profile_model(MEDIUM)
        assert profile is not None
        outcome = assess_fit(settled(result), profile, machine, chats()).outcome
        assert (outcome == "fits") == reason(result, BATCH).startswith("the fastest that fits")


def test_a_paged_optimizer_is_taken_if_its_states_must_leave_the_device() -> None:
    roomy = planned(prepared(66), MEDIUM, *FULL)
    assert settled(roomy).optim == "paged_adamw_8bit"
    assert reason(roomy, OPTIMIZER).startswith("adamw_8bit does not fit: at least ")
    small = planned(prepared(66, free_gib=8), MEDIUM, *FULL)
    assert settled(small).optim == "adamw_torch_fused"
    assert "would wait in main memory, of which 4.0 GiB may be taken" in reason(small, BATCH)


def test_products_that_selective_recomputation_keeps_stay_on_the_device() -> None:
    profile = profile_model(LARGE)
    assert profile is not None
    plain = Recipe(2048, 2048, checkpointing="selective")
    layer = 2048 * 4096 * 2  # tokens, values of each, bytes of a value
    moved = replace(plain, offloads=True)
    saved = [saved_activations(profile.shape, recipe) for recipe in (plain, moved)]
    assert saved[0] - saved[1] == (36 - OFFLOADED_LAYERS) * layer
    assert waiting_bytes(profile.shape, moved) == 36 * layer


def test_pinned_memory_is_counted_in_powers_of_two() -> None:
    recipe = Recipe(1025, 1025, checkpointing="full", offloads=True)
    profile = profile_model(LARGE)
    assert profile is not None
    layer = 2048 * 4096 * 2  # tokens, values of each, bytes of a value
    assert waiting_bytes(profile.shape, recipe) == 36 * layer
