"""Verdicts on made-up machines, the cheapest change that fits, and what check says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swiftbox.core.losses import chunked
from swiftbox.devices.accelerators import find_accelerator
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.errors import ConfigError
from swiftbox.fit import training
from swiftbox.fit.estimate import estimate
from swiftbox.fit.learned import LearnedLimits, NeedOfFree
from swiftbox.fit.profile import profile_model, profile_of_row
from swiftbox.fit.richest_tuner import richest_tuner
from swiftbox.fit.verdict import assess_fit
from swiftbox.models.catalogue import model
from swiftbox.plan import plan
from swiftbox.tasks.load import loads


def settled(machine: str, *overrides: str) -> Any:
    usual = ["dataset=owner/rows", "report_to=none", *overrides]
    return plan(
        loads("", source="test", overrides=usual).config, hypothetical_machine(machine)
    ).config


def verdict(machine: str, *overrides: str) -> str:
    config = settled(machine, *overrides)
    result = profile_model(config.model)
    assert result is not None
    return assess_fit(config, result, hypothetical_machine(machine)).outcome


def test_full_tuning_of_72b_on_24_gib_does_not_fit_and_gets_a_fitting_proposal() -> None:
    config = settled("cuda:24", "model=Qwen/Qwen2.5-72B-Instruct", "tuner_type=full")
    result = estimate(config, hypothetical_machine("cuda:24"))
    assert result is not None
    assert result.verdict.outcome == "no"
    assert result.proposal is not None
    assert result.proposal.verdict.outcome == "fits"
    assert result.proposal.changes["model"].startswith("Qwen/Qwen2.5-")
    assert "does not fit" in result.lines()[0]


@pytest.mark.parametrize(
    ("machine", "overrides", "count"),
    [
        ("cuda:24", ("tuner_type=lora",), 16),
        ("cuda:80x8", ("tuner_type=full",), 24),
        ("mps:32", ("tuner_type=lora",), None),  # Macs do not shard
        ("cpu:64", ("tuner_type=lora",), None),
    ],
)
def test_more_devices_are_proposed_if_no_cheap_change_fits(
    machine: str, overrides: tuple[str, ...], count: int | None
) -> None:
    config = settled(machine, "model=Qwen/Qwen2.5-72B-Instruct", *overrides)
    result = estimate(config, hypothetical_machine(machine))
    assert result is not None
    more = result.more_devices
    assert (more.changes["num_devices"] if more else None) == count
    assert any("such devices, " in line for line in result.lines()) is (count is not None)
    if more is not None:
        assert more.verdict.outcome == "fits"


def test_no_more_devices_are_proposed_if_a_cheap_change_fits() -> None:
    config = settled("cuda:24", "model=Qwen/Qwen2.5-7B-Instruct", "gradient_checkpointing=false")
    result = estimate(config, hypothetical_machine("cuda:24"))
    assert result is not None
    assert result.proposal is not None
    assert result.more_devices is None


def test_the_width_of_a_mixture_is_that_of_its_active_experts() -> None:
    known, guess = (
        profile_model(f"{name}") for name in ("Qwen/Qwen3-30B-A3B", "inclusionAI/Ling-1T")
    )
    assert known is not None
    assert known.exact
    assert known.shape.params == 30e9
    assert known.shape.experts == 128
    assert guess is not None
    assert not guess.exact
    assert guess.shape.params == 1000e9
    assert guess.shape.hidden < 9000  # of its 50 B active parameters, not of all


def test_uncounted_modalities_are_reported() -> None:
    config = settled("cuda:80", "model=Qwen/Qwen2.5-VL-7B-Instruct")
    result = estimate(config, hypothetical_machine("cuda:80"))
    assert result is not None
    assert any("image, video in the rows is not counted" in line for line in result.lines())


@pytest.mark.parametrize(
    ("machine", "overrides", "word"),
    [
        ("cuda:24", ("model=Qwen/Qwen2.5-7B-Instruct",), "fits"),
        ("cuda:12", ("model=Qwen/Qwen2.5-7B-Instruct",), "no"),
        ("cuda:12", ("model=Qwen/Qwen2.5-7B-Instruct", "tuner_type=qlora"), "fits"),
        ("cuda:80", ("model=Qwen/Qwen2.5-7B-Instruct", "tuner_type=full"), "no"),
        ("cuda:80x8", ("model=Qwen/Qwen2.5-7B-Instruct", "tuner_type=full"), "no"),
        (
            "cuda:80x8",
            ("model=Qwen/Qwen2.5-7B-Instruct", "tuner_type=full", "distributed=fsdp"),
            "fits",
        ),
        ("npu:64", ("model=Qwen/Qwen2.5-7B-Instruct",), "fits"),
        ("mps:32", ("model=Qwen/Qwen2.5-0.5B-Instruct",), "fits"),
        ("cpu:8", ("model=Qwen/Qwen2.5-7B-Instruct",), "no"),
    ],
)
def test_combinations_known_to_fit_fit(machine: str, overrides: tuple[str, ...], word: str) -> None:
    overrides = (*overrides, "gradient_checkpointing=true")
    assert verdict(machine, *overrides) == word


@pytest.mark.parametrize(
    ("machine", "overrides", "changes"),
    [
        (
            "cuda:24",
            ("model=Qwen/Qwen2.5-7B-Instruct", "gradient_checkpointing=false"),
            {"gradient_checkpointing": "true"},
        ),
        (
            "cuda:24",
            (
                "model=Qwen/Qwen2.5-7B-Instruct",
                "gradient_checkpointing=true",
                "per_device_train_batch_size=8",
            ),
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 32},
        ),
        (
            "cuda:12",
            ("model=Qwen/Qwen2.5-7B-Instruct", "gradient_checkpointing=true"),
            {"tuner_type": "qlora"},
        ),
        (
            "cuda:80x8",
            (
                "model=Qwen/Qwen2.5-7B-Instruct",
                "gradient_checkpointing=true",
                "tuner_type=full",
                "distributed=ddp",
                "quant_bits=4",
            ),
            {"distributed": "fsdp", "num_devices": 8},
        ),
    ],
)
def test_the_cheapest_change_comes_first(
    machine: str, overrides: tuple[str, ...], changes: dict[str, object]
) -> None:
    if "quant_bits=4" in overrides:  # without QLoRA as a way out
        overrides = tuple(line for line in overrides if line != "quant_bits=4")
        machine_there = hypothetical_machine("npu:80x8")
        usual = ["dataset=owner/rows", "report_to=none", *overrides]
        config = plan(loads("", source="test", overrides=usual).config, machine_there).config
        result = estimate(config, machine_there)
    else:
        result = estimate(settled(machine, *overrides), hypothetical_machine(machine))
    assert result is not None
    assert result.proposal is not None
    assert dict(result.proposal.changes) == changes


def test_the_list_names_the_richest_training_that_fits() -> None:
    small, large = model("Qwen/Qwen2.5-0.5B-Instruct"), model("Qwen/Qwen2.5-72B-Instruct")
    assert small is not None
    assert large is not None
    config = settled("cuda:24", "model=owner/name", "gradient_checkpointing=true")
    best = richest_tuner(config, hypothetical_machine("cuda:24"))
    assert best(profile_of_row(small)) == "full"
    assert best(profile_of_row(large)) == "no"
    assert best(None) is None


def test_the_estimate_says_what_earlier_runs_needed_and_counts_it() -> None:
    config, machine = settled("cuda:24", "model=Qwen/Qwen3-0.6B"), hypothetical_machine("cuda:24")
    plain, corrected, failed = (
        estimate(config, machine, learned=learned)
        for learned in (
            LearnedLimits(),
            LearnedLimits(peak_ratio=1.5),
            LearnedLimits(NeedOfFree(1e9, 25e9)),
        )
    )
    assert plain is not None
    assert corrected is not None
    assert failed is not None
    assert corrected.verdict.need_bytes == 1.5 * plain.verdict.need_bytes
    assert "it needed 1.50 x the estimate" in corrected.lines()[2]
    assert (plain.verdict.outcome, failed.verdict.outcome) == ("fits", "no")
    assert "ran out of memory" in failed.lines()[2]


def test_an_invalid_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such machine"):
        hypothetical_machine("toaster:24")


def test_a_device_is_found_by_the_name_its_driver_reports() -> None:
    result = find_accelerator("NVIDIA A100-SXM4-80GB", 80 * 2**30)
    assert result is not None
    assert result.memory_gib == 80
    assert result.flops == 312e12


def test_the_size_of_the_heads_chunks_is_that_of_the_core() -> None:
    assert training.CHUNK_BYTES["cpu"] == chunked.CHUNK_BYTES["cpu"]
    assert training.ACCELERATOR_CHUNK_BYTES == chunked.ACCELERATOR_CHUNK_BYTES


def test_a_folder_is_read_from_its_config_and_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,'
        ' "intermediate_size": 128, "dtype": "float32"}'
    )
    (tmp_path / "model.safetensors").write_bytes(b"0" * 400_000)
    result = profile_model(str(tmp_path))
    assert result is not None
    assert result.local
    assert result.shape.params == 100_000


@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"hidden_size": "many"}'])
def test_an_empty_config_gives_no_estimate(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert profile_model(str(tmp_path)) is None
