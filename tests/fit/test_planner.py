"""The planner's choices on made-up machines: what it keeps, and what it takes for granted."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from planning import (
    LARGE,
    MEDIUM,
    SMALL,
    card,
    chats,
    planned,
    reason,
    request,
    settled,
    texts,
    with_memory,
)

from swiftbox.config.train import TrainConfig
from swiftbox.core.data import batches
from swiftbox.core.training import rounding_adamw
from swiftbox.data.example import Example
from swiftbox.data.lengths import BYTES_PER_TOKEN, Lengths
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.devices.machine import Machine
from swiftbox.fit import micro_batch, training
from swiftbox.fit.candidates import BATCH, CHECKPOINTING, OPTIMIZER, PASSES, candidates
from swiftbox.fit.learned import LearnedLimits, NeedOfFree
from swiftbox.fit.planner import decide
from swiftbox.fit.profile import profile_model
from swiftbox.fit.row_sizes import row_sizes
from swiftbox.fit.verdict import assess_fit
from swiftbox.fit.workload import Workload
from swiftbox.plan import plan

FAILED = NeedOfFree(30e9, 80e9)
MACHINES = [card(24), card(80), hypothetical_machine("cpu:64"), hypothetical_machine("mps:32")]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.backend)
@pytest.mark.parametrize("rows", [1, 7, 12, 16, 96])
def test_the_rows_per_update_stay_as_requested(machine: Machine, rows: int) -> None:
    config = settled(planned(machine, SMALL, f"gradient_accumulation_steps={rows}"))
    assert config.micro_batch * config.gradient_accumulation_steps == rows


@pytest.mark.parametrize(
    "values",
    [
        {BATCH: 3, PASSES: 5, CHECKPOINTING: "true", "padding_free": "false"},
        {BATCH: 1, PASSES: 16, CHECKPOINTING: "false", "activation_offload": False},
        {BATCH: 64, PASSES: 2, CHECKPOINTING: "selective", OPTIMIZER: "adamw_torch"},
    ],
)
def test_explicit_values_are_never_changed(values: dict[str, Any]) -> None:
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    config = settled(planned(card(24), LARGE, *overrides))
    assert {key: getattr(config, key) for key in values} == values


def test_a_small_model_on_a_large_card_recomputes_nothing_in_few_passes() -> None:
    result = planned(card(80), SMALL)
    config = settled(result)
    assert config.gradient_checkpointing == "false"
    assert config.gradient_accumulation_steps <= 8
    assert reason(result, BATCH).startswith("the fastest that fits: ")


def test_the_reason_names_the_next_best_setting_with_time_and_memory() -> None:
    why = reason(planned(card(80), SMALL), BATCH)
    next_best = why.partition("; next: ")[2]
    rows, times, passes = next_best.split()[:3]
    assert (int(rows) * int(passes.rstrip(":")), times) == (16, "x")
    cost, _, need = next_best.partition(" x the time, ")
    assert float(cost.split()[-1]) >= 0.97
    assert "GiB" in need


def test_the_reasons_tell_no_time_beside_that_of_the_estimate() -> None:
    for machine in MACHINES:
        for note in planned(machine, SMALL).notes:
            assert " s an update" not in note.why


def test_a_value_that_does_not_fit_is_named_with_both_numbers() -> None:
    why = reason(planned(card(24), LARGE, f"{BATCH}=4", f"{PASSES}=4"), CHECKPOINTING)
    assert "does not fit: at least " in why
    assert "more than 21.6 GiB of 24.0 GiB" in why


@pytest.mark.parametrize(("gib", "model", "tuner"), [(24, LARGE, "lora"), (24, LARGE, "qlora")])
def test_choices_for_a_card_leave_a_tenth_of_its_memory(gib: int, model: str, tuner: str) -> None:
    config = settled(planned(card(gib), model, f"tuner_type={tuner}"))
    profile = profile_model(model)
    assert profile is not None
    assert assess_fit(config, profile, card(gib), chats()).outcome == "fits"
    assert config.gradient_checkpointing in ("true", "selective")


def test_more_memory_never_gives_a_slower_choice() -> None:
    times = []
    for gib in (22, 24, 28, 32, 40, 48, 64, 80):
        machine = replace(card(24), devices=(with_memory(card(24), gib),))
        times.append(seconds_of_the_choice(machine, LARGE))
    assert times == sorted(times, reverse=True)
    assert times[-1] < times[0]


def seconds_of_the_choice(machine: Machine, model: str) -> float:
    config = request(f"model={model}", "optim=adamw_torch_fused")
    workload = Workload(model=profile_model(model), lengths=chats())
    usual = plan(config, machine).config
    assert isinstance(usual, TrainConfig)
    decision = decide(usual, machine, workload, list(candidates(config, usual, machine, ())))
    assert decision is not None
    return decision.best.seconds


def test_the_longest_rows_decide_the_memory_and_the_mean_the_time() -> None:
    config = request(f"model={SMALL}", "max_length=4096")
    lengths = chats()
    sizes = row_sizes(config, lengths)
    assert sizes.longest == pytest.approx(1.3 * lengths.longest, abs=1)
    assert sizes.worst(1) == pytest.approx(sizes.longest, abs=1)
    assert sizes.mean < sizes.padded_length(4) < sizes.padded_length(64) < 1500
    assert row_sizes(request(f"model={SMALL}", "max_length=512"), chats()).longest == 512


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 40, 300])
def test_the_worst_batch_has_the_longest_rows_but_not_the_longest_many_times(rows: int) -> None:
    chooser, lengths = random.Random(1), Lengths()
    tokens = [chooser.lognormvariate(5.2, 0.8) for _ in range(299)] + [3000.0]
    for count in tokens:
        lengths.add(Example(text="x" * round(count * BYTES_PER_TOKEN)))
    sizes = row_sizes(request(f"model={SMALL}", "max_length=8192"), lengths)
    longest_rows = 1.3 * sum(sorted(tokens)[-rows:])
    assert longest_rows - rows <= sizes.worst(rows) <= rows * sizes.longest
    if rows > 1:
        assert sizes.worst(rows) < 0.9 * rows * sizes.longest


def test_rows_that_are_not_here_may_be_as_long_as_max_length() -> None:
    result = planned(card(80), SMALL, lengths=None)
    sizes = row_sizes(settled(result), None)
    assert sizes.worst(2) == 2 * settled(result).max_length
    assert "assuming 400 tokens a row until the rows are on this machine" in reason(result, BATCH)


def test_without_a_workload_one_row_is_taken_as_the_safe_choice() -> None:
    result = plan(request("model=owner/unknown"), card(80))
    assert settled(result).micro_batch == 1
    assert settled(result).gradient_checkpointing == "true"
    assert "what fits is not known yet" in reason(result, BATCH)


@pytest.mark.parametrize(
    ("overrides", "batch"),
    [
        (["stage=kto"], 4),
        (["stage=kto", f"{PASSES}=6"], 3),
        (["stage=kto", f"{PASSES}=5"], 5),
        (["stage=grpo", "reward_funcs=length"], 8),
        (["stage=orpo"], 1),
        (["stage=dpo", "rpo_alpha=1.0"], 1),
    ],
)
def test_methods_whose_loss_depends_on_the_batch_keep_a_usual_one(
    overrides: Sequence[str], batch: int
) -> None:
    result = planned(card(80), SMALL, *overrides)
    assert settled(result).micro_batch == batch
    assert "the loss depends on the rows of a forward pass" in reason(result, BATCH)


def test_kto_without_a_reference_point_is_planned_by_time() -> None:
    result = planned(card(80), SMALL, "stage=kto", "loss_type=apo_zero_unpaired")
    assert "the fastest that fits" in reason(result, BATCH)


def test_a_setting_that_ran_out_of_memory_is_not_chosen_again() -> None:
    before = planned(card(80), LARGE)
    profile = profile_model(LARGE)
    assert profile is not None
    verdict = assess_fit(settled(before), profile, card(80), chats())
    failed = NeedOfFree(verdict.need_bytes, verdict.have_bytes)
    after = planned(card(80), LARGE, learned=LearnedLimits(failed))
    needed = assess_fit(settled(after), profile, card(80), chats()).need_bytes
    assert needed < verdict.need_bytes
    assert "learned from a run here: a run estimated at " in reason(after, BATCH)


def test_a_failure_on_a_crowded_device_changes_no_plan_for_an_empty_one() -> None:
    crowded = LearnedLimits(NeedOfFree(19e9, 20e9))
    assert settled(planned(card(80), LARGE, learned=crowded)) == settled(planned(card(80), LARGE))


def test_a_value_that_failed_before_is_not_called_too_large() -> None:
    limits = LearnedLimits(NeedOfFree(18 / 80, 1.0))
    why = reason(planned(card(80), LARGE, learned=limits), CHECKPOINTING)
    assert "does not fit" not in why
    assert "ran out of memory in an earlier run" in why


def test_a_failure_of_the_smallest_setting_is_named_as_the_cause() -> None:
    why = reason(planned(card(80), LARGE, learned=LearnedLimits(NeedOfFree(1.0, 80e9))), BATCH)
    assert "nothing fits" not in why
    assert "an earlier run here ran out of memory" in why


def test_a_measured_peak_corrects_the_prediction() -> None:
    tight = planned(card(24), LARGE, learned=LearnedLimits(peak_ratio=1.15))
    profile = profile_model(LARGE)
    assert profile is not None
    need = assess_fit(settled(tight), profile, card(24), chats()).need_bytes
    assert 1.15 * need <= 0.9 * 24 * 2**30
    assert "it needed 1.15 x the estimate" in reason(tight, BATCH)


@pytest.mark.parametrize(
    "learned",
    [LearnedLimits(peak_ratio=1.8), LearnedLimits(FAILED), LearnedLimits(FAILED, 1.2)],
)
@pytest.mark.parametrize("recomputes", ["true", "false"])
def test_plan_and_verdict_agree_on_what_earlier_runs_needed(
    learned: LearnedLimits, recomputes: str
) -> None:
    fixed = f"{BATCH}=4", f"{PASSES}=4", f"{CHECKPOINTING}={recomputes}"
    result = planned(card(80), LARGE, *fixed, learned=learned)
    profile, config = profile_model(LARGE), settled(result)
    assert profile is not None
    verdict = assess_fit(config, profile, card(80), chats(), learned)
    usual = plan(request(f"model={LARGE}", *fixed), card(80)).config
    assert isinstance(usual, TrainConfig)
    workload = Workload(model=profile, lengths=chats(), learned=learned)
    decision = decide(usual, card(80), workload, list(candidates(usual, config, card(80), ())))
    assert decision is not None
    assert (verdict.outcome == "fits") == decision.best.fits
    assert verdict.need_bytes == decision.best.fit.need_bytes


def test_an_optimizer_with_less_state_is_taken_only_if_nothing_else_fits() -> None:
    full = "tuner_type=full"
    assert settled(planned(card(80), SMALL, full)).optim == "adamw_torch_fused"
    machine = replace(card(80), versions={**card(80).versions, "bitsandbytes": "0.50.2"})
    result = planned(machine, MEDIUM, full, "max_length=1024")
    assert settled(result).optim in ("adamw_torch_fused", "adamw_8bit")
    crowded = replace(machine, devices=(with_memory(machine, 76),))
    smaller = planned(crowded, MEDIUM, full, "max_length=1024")
    assert settled(smaller).optim == "adamw_8bit"
    assert "does not fit: at least " in reason(smaller, OPTIMIZER)


@pytest.mark.parametrize(("devices", "copies"), [("cuda:80x2", 1.0), ("cuda:80", 0.0)])
def test_replicated_weights_count_the_buckets_of_their_gradients(
    devices: str, copies: float
) -> None:
    machine, profile = hypothetical_machine(devices), profile_model(SMALL)
    assert profile is not None
    config = settled(planned(machine, SMALL, "tuner_type=full"))
    memory = assess_fit(config, profile, machine, chats()).memory
    assert memory.buckets == copies * memory.gradients


def test_sharded_weights_keep_an_optimizer_that_can_update_them() -> None:
    machine = hypothetical_machine("cuda:78x2")
    machine = replace(machine, versions={**machine.versions, "bitsandbytes": "0.50.2"})
    config = settled(planned(machine, LARGE, "tuner_type=full", "distributed=fsdp"))
    assert config.optim == "adamw_torch_fused"


def test_where_nothing_fits_the_smallest_setting_is_taken() -> None:
    result = planned(card(24), "Qwen/Qwen2.5-72B-Instruct")
    config = settled(result)
    assert (config.micro_batch, config.gradient_checkpointing) == (1, "true")
    assert reason(result, BATCH).startswith("nothing fits; this needs the least: ")


def test_the_reasons_are_written_in_chinese_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    result = planned(card(80), SMALL)
    assert reason(result, BATCH).startswith("放得下的最快设置：")
    assert "；其次 " in reason(result, BATCH)
    assert " 倍时间、" in reason(result, BATCH)


def test_updates_with_stochastic_rounding_take_as_many_weights_as_in_the_core() -> None:
    assert training.UPDATED_AT_ONCE == rounding_adamw.PIECE


def test_lines_are_as_long_as_those_of_the_core() -> None:
    assert micro_batch.SHORT_LINE == batches.SHORT_LINE


def test_a_cpu_joins_more_of_the_short_rows_than_of_the_long_ones() -> None:
    machine = hypothetical_machine("cpu:64")
    short = settled(planned(machine, SMALL, lengths=texts(80)))
    long = settled(planned(machine, SMALL, "max_length=1024", lengths=texts(1000)))
    assert long.micro_batch < short.micro_batch  # fixed costs slow few tokens, the cache many
    assert (short.gradient_checkpointing, long.gradient_checkpointing) == ("false", "false")
