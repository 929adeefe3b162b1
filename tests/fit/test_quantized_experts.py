"""QLoRA leaves experts in the compute type: the estimate, the proposals and check say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import write_chats

from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.fit.memory import Recipe, stored
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.proposals import Proposal, propose
from swiftbox.fit.shape import ModelShape, shape_from_dimensions
from swiftbox.fit.verdict import assess_fit
from swiftbox.fit.workload import Workload
from swiftbox.launch.prepare import check_config
from swiftbox.plan import plan
from swiftbox.tasks.load import loads

GIB = 2**30

MIXTURE = shape_from_dimensions(
    {
        "hidden": 2048,
        "layers": 48,
        "heads": 32,
        "kv_heads": 4,
        "head_dim": 128,
        "intermediate": 768,
        "vocab": 151936,
        "experts": 128,
        "active_experts": 8,
    }
)
"""30 billion parameters, 29 of them in experts."""

DENSE = shape_from_dimensions(
    {"hidden": 5120, "layers": 64, "heads": 40, "intermediate": 25600, "vocab": 151936}
)


def config(machine: str, **keys: str) -> Any:
    overrides = [f"{key}={value}" for key, value in keys.items()]
    usual = ["model=owner/name", "dataset=owner/rows", "report_to=none", *overrides]
    request = loads("", source="test", overrides=usual).config
    return plan(request, hypothetical_machine(machine)).config


def test_the_parameters_of_experts_are_counted() -> None:
    assert MIXTURE.in_experts == 48 * 128 * 3 * 2048 * 768
    assert DENSE.in_experts == 0
    guessed = ModelShape(
        **{**vars(DENSE), "params": 30e9, "active": 3e9}  # no dimensions but these two sizes
    )
    assert guessed.in_experts == 27e9


def test_experts_keep_the_compute_type_under_qlora() -> None:
    settled, profile = config("cuda:80", tuner_type="qlora"), ModelProfile(MIXTURE, True, True)
    verdict = assess_fit(settled, profile, hypothetical_machine("cuda:80"))
    assert verdict.memory.weights / GIB == pytest.approx(55.6, abs=2)
    prequantized = ModelProfile(MIXTURE, True, True, quantized="gptq")
    verdict = assess_fit(settled, prequantized, hypothetical_machine("cuda:80"))
    assert verdict.memory.weights / GIB < 20


def test_experts_are_stored_like_all_weights_without_a_type_for_them() -> None:
    uniform = Recipe(tokens=1, length=1, weights="nf4-dq")
    assert stored(MIXTURE, uniform) < 20 * GIB
    assert stored(DENSE, uniform) == stored(
        DENSE, Recipe(1, 1, weights="nf4-dq", experts="float32")
    )


def proposal(machine: str, shape: ModelShape, tuner: str) -> Proposal | None:
    settled, profile = config(machine, tuner_type=tuner), ModelProfile(shape, True, True)
    return propose(settled, profile, hypothetical_machine(machine), Workload(profile))


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_qlora_is_not_proposed_where_most_weights_are_experts(tuner: str) -> None:
    assert proposal("cuda:48", MIXTURE, tuner) is None
    dense = proposal("cuda:48", DENSE, tuner)
    assert dense is not None
    assert dense.changes["tuner_type"] == "qlora"


def test_lora_is_proposed_instead_of_training_all_experts() -> None:
    less = proposal("cuda:80", MIXTURE, "full")
    assert less is not None
    assert less.changes["tuner_type"] == "lora"


@pytest.mark.parametrize("experts", [0, 8])
def test_check_notes_that_experts_are_not_quantized(
    experts: int, tmp_path: Path, tiny: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    written = json.loads((folder / "config.json").read_text("utf-8"))
    written |= {"num_experts": experts, "moe_intermediate_size": 64}
    (folder / "config.json").write_text(json.dumps(written), "utf-8")
    data = write_chats(tmp_path / "chats.jsonl", 2)
    overrides = [f"model={folder}", f"dataset={data}", "hub=local", "tuner_type=qlora"]
    remarks: list[Any] = []
    check_config(loads("", source="test", overrides=overrides).config, remarks.append)
    notes = [remark.message for remark in remarks if remark.topic == "tuner_type"]
    assert len(notes) == (1 if experts else 0)
    assert all("does not quantize the experts" in note for note in notes)
