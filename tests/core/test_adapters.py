"""What all-linear matches, what is refused, and the two names for notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from swiftbox import LoRAConfig, Swift
from swiftbox.config.tuners import TunerFields
from swiftbox.core.tuners.attach import attach, parameter_counts
from swiftbox.core.tuners.targets import linear_names, matched
from swiftbox.errors import ConfigError

SEVEN = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@pytest.fixture
def model(tiny: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)


def test_all_linear_means_the_seven_of_every_layer_and_not_the_head(
    model: torch.nn.Module,
) -> None:
    assert linear_names(model) == SEVEN


def test_all_linear_leaves_a_vision_tower_and_a_router_alone(model: torch.nn.Module) -> None:
    model.visual = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.model.layers[0].mlp.gate = torch.nn.Linear(2, 2)
    names = linear_names(model)
    assert not [name for name in names if "visual" in name or name.endswith("gate")]


def test_the_published_call_gives_a_peft_model_with_its_dropout(model: torch.nn.Module) -> None:
    config = LoRAConfig(r=8, target_modules=["q_proj", "v_proj"], lora_alpha=32, dropout=0.1)
    tuned = Swift.prepare_model(model, config)
    assert isinstance(tuned, PeftModel)
    assert matched(tuned) == {"q_proj": 2, "v_proj": 2}
    assert tuned.peft_config["default"].lora_dropout == 0.1
    trainable, total = parameter_counts(tuned)
    # q: 64 -> 64, v: 64 -> 32; rank 8; two layers
    assert trainable == 2 * (8 * (64 + 64) + 8 * (64 + 32))
    assert total > trainable


def test_one_name_is_a_name_and_not_a_pattern(model: torch.nn.Module) -> None:
    assert matched(attach(model, TunerFields(target_modules="q_proj"), None)) == {"q_proj": 2}
    with pytest.raises(ConfigError, match="no nosuch_proj"):
        attach(model, TunerFields(target_modules="nosuch_proj"), None)


def test_two_dropouts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        LoRAConfig(dropout=0.1, lora_dropout=0.2)


def test_a_name_that_no_layer_has_is_refused_with_the_nearest(model: torch.nn.Module) -> None:
    with pytest.raises(ConfigError, match="no q_prj") as caught:
        Swift.prepare_model(model, LoRAConfig(r=8, target_modules=["q_prj"]))
    assert "q_proj" in caught.value.hint
