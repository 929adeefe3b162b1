"""Every tuner trains: the loss falls, what is saved loads again and says the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
)
from tuner_runs import (
    STEPS,
    TUNERS,
    answer,
    logits,
    reloaded,
    train,
)

from swiftbox.config.combinations import require_compatible
from swiftbox.config.train import TrainConfig
from swiftbox.core.tuners.attach import attach
from swiftbox.core.tuners.full import freeze
from swiftbox.core.tuners.initialization import changes_base
from swiftbox.errors import ConfigError

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = 1e-4
"""Of the largest logit. Float32 rounds weights to 6e-8 and sums of two layers to about 1e-6; an
adapter that was not applied, or applied to another base, moves logits by more than 1e-2."""

ONE_OF_EACH = (
    "lora on qwen3",
    "dora",
    "pissa",
    "lora_ga",
    "qlora",
    "full",
    "adalora",
    "ia3",
    "oft",
    "vera",
    "llamapro",
)

FALLS = {
    "pt": 0.2,
    "dpo": 0.02,
    "orpo": 0.1,
    "simpo": 0.1,
    "cpo": 0.3,
    "kto": 0.01,
    "reward": 0.01,
}
"""By how much the steps below bring the loss of a stage down, whatever the tuner."""

FEW_STEPS = {"dpo": 12, "kto": 12, "reward": 12}
"""Their losses fall within fewer steps than STEPS."""

REACHING_INTO_TUNERS = [(stage, name) for stage in ("dpo", "kto", "reward") for name in ONE_OF_EACH]
"""A reference model or another head depends on what the tuner changes: every pair is tried."""

PLAIN = [
    *(("pt", name) for name in ("lora on qwen3", "pissa", "vera")),
    *(("orpo", name) for name in ("dora", "full", "ia3")),
    *(("simpo", name) for name in ("qlora", "lora_ga", "llamapro")),
    *(("cpo", name) for name in ("lora on qwen3", "adalora", "oft")),
]
"""These losses read the log-probabilities of the trained network alone, as sft does, which is tried
with every tuner below. Each tuner is tried with one of them."""


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "name"), [*REACHING_INTO_TUNERS, *PLAIN])
def test_every_tuner_learns_in_every_stage(
    name: str, stage: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    case = TUNERS[name]
    keys = {**case.keys, "max_steps": FEW_STEPS.get(stage, STEPS)}
    trained = train(tmp_path, tiny_models[case.model], stage, **keys)
    before, after = sum(trained.losses[:3]) / 3, sum(trained.losses[-3:]) / 3
    assert after < before - FALLS[stage], (before, after)
    again = reloaded(trained, tiny_models[case.model], scores=stage == "reward")
    difference = (logits(again) - logits(trained.network)).abs().max()
    assert difference <= TOLERANCE * logits(again).abs().max()
    if stage != "reward":
        assert answer(again, trained.folder) == answer(trained.network, trained.folder)


@pytest.mark.parametrize("name", TUNERS)
@pytest.mark.parametrize("stage", ["sft"])
def test_a_tuner_learns_and_gives_the_same_answers_after_reloading(
    name: str, stage: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    case = TUNERS[name]
    trained = train(tmp_path, tiny_models[case.model], stage, **case.keys)
    assert len(trained.losses) == STEPS
    before, after = sum(trained.losses[:3]) / 3, sum(trained.losses[-3:]) / 3
    assert after < before - case.margin, (before, after)
    again = reloaded(trained, tiny_models[case.model])
    difference = (logits(again) - logits(trained.network)).abs().max()
    assert difference <= TOLERANCE * logits(again).abs().max()
    assert answer(again, trained.folder) == answer(trained.network, trained.folder)


BEGINS = {"true": False, "gaussian": False, "eva": False, "pissa": True, "olora": True}


@pytest.mark.parametrize("init", [*BEGINS, "pissa_niter_4", "lora_ga"])
def test_initializations_that_change_the_base_are_known(init: str, tiny: Path) -> None:
    settings = of_tuner(tiny, init_lora_weights=init)
    assert changes_base(settings) is BEGINS.get(init, True)
    continued = settings.model_copy(update={"adapter": "folder"})
    assert not changes_base(continued)
    if init in ("eva", "lora_ga"):
        return
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    bare = logits(model)
    network = attach(model, settings)
    with network.disable_adapter():
        same = torch.allclose(logits(network), bare, atol=1e-4)
    assert same is not changes_base(settings)


def of_tuner(model: Path, **keys: Any) -> TrainConfig:
    return TrainConfig(model=str(model), dataset="d", **keys)


@pytest.mark.parametrize("init", ["eva", "lora_ga"])
def test_data_driven_initializations_are_refused_without_rows(init: str, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with pytest.raises(ConfigError, match=f"{init} needs training rows"):
        attach(model, of_tuner(tiny, init_lora_weights=init))


def test_rslora_with_patterns_is_saved_for_the_original_base(tmp_path: Path, tiny: Path) -> None:
    keys = {"use_rslora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 16}}
    trained = train(tmp_path, tiny, max_steps=3, init_lora_weights="pissa", **keys)
    again = reloaded(trained, tiny)
    difference = (logits(again) - logits(trained.network)).abs().max()
    assert difference <= TOLERANCE * logits(again).abs().max()
    assert json.loads((trained.folder / "adapter_config.json").read_text())["r"] == 16


@pytest.mark.parametrize(
    ("keys", "message", "hint"),
    [
        ({"freeze_parameters": ["embd_tokens"]}, "no parameter matches embd_tokens", "embed"),
        ({"trainable_parameters": ["layers.9."]}, "no parameter matches", "layers"),
        ({"freeze_parameters": ["."]}, "every parameter is frozen", "trainable_parameters"),
    ],
)
def test_a_freeze_pattern_that_matches_nothing_is_refused(
    keys: dict[str, Any], message: str, hint: str, tiny: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    with pytest.raises(ConfigError, match=message) as caught:
        freeze(model, of_tuner(tiny, tuner_type="full", **keys))
    assert hint in caught.value.hint


def test_only_named_parameters_are_trained(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    freeze(model, of_tuner(tiny, tuner_type="full", trainable_parameters=["norm"]))
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("norm" in name for name in trained)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tuner_type": "full", "optim": "lora_fa"}, "lora_fa is for lora"),
        ({"optim": "galore_adamw"}, "galore_adamw is for full training"),
        ({"optim": "lora_fa", "use_dora": True}, "does not support use_dora"),
        ({"optim": "lora_fa", "lora_plus_lr_ratio": 4}, "has no effect with optim: lora_fa"),
        ({"target_parameters": ["x"], "use_dora": True}, "cannot be combined with use_dora"),
        ({"tuner_type": "qlora", "distributed": "fsdp"}, "not been verified"),
        ({"init_lora_weights": "eva", "distributed": "zero3"}, "distributed: zero3 splits"),
        ({"tuner_type": "adalora", "adalora_target_r": 20}, "is above adalora_init_r"),
    ],
)
def test_settings_that_exclude_each_other_are_refused_in_the_plan(
    keys: dict[str, Any], message: str, tiny: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        require_compatible(of_tuner(tiny, **keys))
    assert caught.value.hint


SLOW = pytest.param("eva", marks=pytest.mark.slow)
RESUMED = ("pissa", SLOW, "lora_ga", "lora+", "lora-fa", "galore", "llamapro", "vera", "oft")


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(
    name: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {**TUNERS[name].keys, "max_steps": 4, "save_steps": 2}
    trained = train(tmp_path, tiny, **keys)
    for left in ("checkpoint-4", "../model"):
        shutil.rmtree(trained.folder.parent / "checkpoints" / left)
    again = train(tmp_path, tiny, **keys)
    assert "checkpoint-2" in again.notes("resume")
    assert again.losses == trained.losses[2:]
    assert torch.equal(logits(again.network), logits(trained.network))
