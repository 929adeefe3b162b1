"""What all-linear matches, what is refused, and the two names for notebooks."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from swiftbox import LoRAConfig, Swift
from swiftbox.config.tuners import TunerFields
from swiftbox.core.tuners.attach import AdapterStart, attach, parameter_counts
from swiftbox.core.tuners.targets import choose_targets, linear_names, matched
from swiftbox.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")

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
    assert matched(attach(model, TunerFields(target_modules="q_proj"))) == {"q_proj": 2}
    with pytest.raises(ConfigError, match="no layer nosuch_proj"):
        attach(model, TunerFields(target_modules="nosuch_proj"))


def test_two_dropouts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        LoRAConfig(dropout=0.1, lora_dropout=0.2)


def test_a_name_that_no_layer_has_is_refused_with_the_nearest(model: torch.nn.Module) -> None:
    with pytest.raises(ConfigError, match="no layer q_prj") as caught:
        Swift.prepare_model(model, LoRAConfig(r=8, target_modules=["q_prj"]))
    assert "q_proj" in caught.value.hint


def of(**keys: object) -> TunerFields:
    return TunerFields.model_validate(keys)


def test_a_named_head_is_adapted_and_reported(model: torch.nn.Module) -> None:
    recorded: list[str] = []
    targets = choose_targets(model, of(target_modules=["q_proj", "lm_head"]), recorded.append)
    assert targets == ["lm_head", "q_proj"]
    assert "names lm_head" in recorded[0]


def test_a_pattern_that_reaches_the_head_by_chance_is_refused(model: torch.nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"matches .*lm_head") as caught:
        choose_targets(model, of(target_modules=".*(proj|head)"), print)
    assert "exclude_modules: [lm_head]" in caught.value.hint
    settings = of(target_modules=".*(proj|head)", exclude_modules=["lm_head"])
    assert choose_targets(model, settings, print) == SEVEN


def test_a_pattern_that_matches_nothing_is_refused_with_a_full_name(
    model: torch.nn.Module,
) -> None:
    with pytest.raises(ConfigError, match="no layer matches") as caught:
        choose_targets(model, of(target_modules="q_proj|k_proj"), print)
    assert "model.layers.0.self_attn.q_proj" in caught.value.hint
    with pytest.raises(ConfigError, match="not a regular expression"):
        choose_targets(model, of(target_modules="(q_proj"), print)


def test_blocks_and_layers_that_are_left_out_get_no_adapter(model: torch.nn.Module) -> None:
    settings = of(exclude_modules=["gate_proj"], layers_to_transform=[1])
    tuned = attach(model, settings)
    assert matched(tuned) == {name: 1 for name in SEVEN if name != "gate_proj"}
    assert not any(".0." in name for name in choose_targets(model, settings, print))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"layers_to_transform": [2]}, "no layer 2"),
        ({"exclude_modules": ["gate"]}, "gate is not among the matched layers"),
        ({"target_parameters": ["experts.down_proj"]}, "has no parameter experts.down_proj"),
    ],
)
def test_excluded_and_added_modules_must_exist(
    keys: dict[str, object], message: str, model: torch.nn.Module
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        attach(model, of(**keys))
    assert caught.value.hint


@pytest.fixture
def mixture() -> torch.nn.Module:
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=32,
            moe_intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_experts=4,
            num_experts_per_tok=2,
            head_dim=16,
        )
    )


def test_all_linear_reports_that_it_does_not_reach_fused_experts(
    mixture: torch.nn.Module,
) -> None:
    recorded: list[str] = []
    attach(mixture, of(), note=recorded.append)
    assert "mlp.experts.down_proj x2" in recorded[0]
    assert "target_parameters: [mlp.experts.down_proj, mlp.experts.gate_up_proj]" in recorded[0]


def test_target_parameters_reach_the_fused_experts_and_reload(
    mixture: torch.nn.Module, tmp_path: Path
) -> None:
    untouched = copy.deepcopy(mixture)
    recorded: list[str] = []
    names = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
    tuned = attach(mixture, of(target_parameters=names), note=recorded.append)
    assert recorded == []
    assert matched(tuned)["experts.down_proj"] == 2
    ids = torch.arange(20)[None]
    tuned(input_ids=ids, labels=ids).loss.backward()
    experts = [
        weight for name, weight in tuned.named_parameters() if "experts" in name and "lora" in name
    ]
    torch.optim.SGD([weight for weight in experts if weight.grad is not None], lr=1.0).step()
    tuned.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(untouched, tmp_path)
    with torch.no_grad():
        after, bare = tuned.eval()(ids).logits, tuned.get_base_model().eval()
        # The same weights and kernels; logits are about 0.2, and float32 rounds them to 1e-8.
        assert torch.allclose(again.eval()(ids).logits, after, atol=1e-5)
        with tuned.disable_adapter():
            assert not torch.allclose(bare(ids).logits, after, atol=1e-4)


def test_a_score_head_is_trained_in_full_and_takes_no_adapter(tiny: Path) -> None:
    def fresh() -> torch.nn.Module:
        return AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)

    assert linear_names(fresh()) == SEVEN
    tuned = attach(fresh(), of(), AdapterStart(task_type="SEQ_CLS"))
    trained = {name for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert any("score.modules_to_save.default.weight" in name for name in trained)
    with pytest.raises(ConfigError, match="takes no adapter"):
        attach(fresh(), of(target_modules=["score", "q_proj"]), AdapterStart(task_type="SEQ_CLS"))


def test_a_block_size_that_does_not_fit_is_refused_with_those_that_do(
    model: torch.nn.Module,
) -> None:
    with pytest.raises(ConfigError, match="48 does not divide") as caught:
        attach(model, of(tuner_type="oft", oft_block_size=48))
    assert "divisor of 64" in caught.value.hint


def test_ia3_scales_keys_values_and_the_feed_forward_input(model: torch.nn.Module) -> None:
    tuned = attach(model, of(tuner_type="ia3"))
    assert matched(tuned) == {"k_proj": 2, "v_proj": 2, "down_proj": 2}
    assert tuned.peft_config["default"].feedforward_modules == {"down_proj"}
