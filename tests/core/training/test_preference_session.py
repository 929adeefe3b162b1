"""Trainings that learn from preferences, whole: from a file of rows to a model that loads again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from peft import LoraConfig, PeftModel, get_peft_model
from recorded_training import Recorded, notes, of_kind, require_same_after_resume, train_config
from safetensors.torch import load_file
from tiny import write_chats, write_config, write_labels, write_pairs
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from swiftbox.core.losses.reference_policy import ReferencePolicy
from swiftbox.core.training.reference_setup import is_identity
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

COMMON: dict[str, object] = {
    "max_steps": 3,
    "save_steps": 0,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
}


def train(folder: Path, model: Path, data: Path, **keys: object) -> tuple[Path, Recorded]:
    folder.mkdir(parents=True)
    path = write_config(folder / "a.yaml", model, data, **{**COMMON, **keys})
    return train_config(path, folder)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs.jsonl", 32)


METHODS = {
    "dpo": ({}, 0.4),
    "orpo": ({}, 1.0),
    "simpo": ({}, 0.6),
    "cpo": ({}, 1.0),
    "kto": ({}, 0.2),
    "reward": ({}, 0.4),
}
"""The settings of each method, and by how much 30 steps bring the loss down."""


@pytest.mark.parametrize("tuner_type", ["lora", "full"])
@pytest.mark.parametrize("stage", METHODS)
def test_the_loss_of_every_method_falls_and_the_model_loads(
    stage: str, tuner_type: str, tmp_path: Path, tiny: Path
) -> None:
    settings, falls = METHODS[stage]
    write = write_labels if stage == "kto" else write_pairs
    data = write(tmp_path / "rows.jsonl", 48)
    rate = 1e-2 if tuner_type == "lora" else 2e-3
    keys = {"max_steps": 30, "learning_rate": rate, "val_size": 4, "eval_steps": 30, **settings}
    saved, recorded = train(
        tmp_path / "run", tiny, data, stage=stage, tuner_type=tuner_type, **keys
    )
    losses = [step["loss"] for step in of_kind(recorded, "step")]
    assert sum(losses[-3:]) / 3 < sum(losses[:3]) / 3 - falls
    assert math.isfinite(of_kind(recorded, "eval")[0]["loss"])
    kind: Any = AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM
    more = {"num_labels": 1} if stage == "reward" else {}
    base_model = kind.from_pretrained(tiny if tuner_type == "lora" else saved, **more)
    tuned = PeftModel.from_pretrained(base_model, saved) if tuner_type == "lora" else base_model
    output = tuned(input_ids=torch.tensor([[1, 2, 3]])).logits
    assert torch.isfinite(output.float()).all()


@pytest.mark.parametrize("tuner_type", ["lora", "full"])
@pytest.mark.parametrize("precompute", ["true", "false"])
def test_the_first_loss_of_dpo_is_the_logarithm_of_two(
    tuner_type: str, precompute: str, tmp_path: Path, tiny: Path, pairs: Path
) -> None:
    keys = {"tuner_type": tuner_type, "precompute_ref_log_probs": precompute}
    _, recorded = train(tmp_path / "run", tiny, pairs, stage="dpo", **keys)
    first = of_kind(recorded, "step")[0]
    # Precomputed log-probabilities come from other batches: sums of up to 200 nats in float32,
    # times beta 0.1. The same batch gives the same bits.
    within = 1e-4 if precompute == "true" else 1e-6
    assert first["loss"] == pytest.approx(math.log(2), abs=within)


def sft_adapter(tmp_path: Path, tiny: Path) -> Path:
    chats = write_chats(tmp_path / "chat.jsonl", 24)
    saved, _ = train(tmp_path / "sft", tiny, chats, learning_rate=1e-2, max_steps=20)
    return saved


@pytest.mark.parametrize("precompute", ["true", "false"])
def test_dpo_that_continues_an_adapter_uses_it_as_reference(
    precompute: str, tmp_path: Path, tiny: Path, pairs: Path
) -> None:
    adapter = sft_adapter(tmp_path, tiny)
    keys = {"adapter": str(adapter), "precompute_ref_log_probs": precompute, "warmup_steps": 0}
    _, recorded = train(tmp_path / "run", tiny, pairs, stage="dpo", **keys)
    first, second = of_kind(recorded, "step")[:2]
    if precompute == "false":  # the same batch, computed twice
        assert first["metrics"]["rewards/chosen"] == 0
        assert first["metrics"]["rewards/rejected"] == 0
    # Float32 sums of other batches, as above; the bare base as reference is 0.1 away.
    assert first["metrics"]["rewards/chosen"] == pytest.approx(0, abs=1e-4)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert second["metrics"]["rewards/margins"] != 0


def test_the_bare_base_as_reference_would_be_noticed(
    tmp_path: Path, tiny: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = sft_adapter(tmp_path, tiny)
    right = ReferencePolicy.__init__

    def wrong(self: ReferencePolicy, network: Any, **_: Any) -> None:
        right(self, network, adapter_off=True)

    monkeypatch.setattr(ReferencePolicy, "__init__", wrong)
    _, recorded = train(tmp_path / "run", tiny, pairs, stage="dpo", adapter=str(adapter))
    assert abs(of_kind(recorded, "step")[0]["metrics"]["rewards/chosen"]) > 0.1


def test_an_adapter_that_changed_the_base_is_its_own_reference(tiny: Path) -> None:
    def adapted(**settings: Any) -> Any:
        config = LoraConfig(r=4, target_modules=["q_proj"], **settings)
        return get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config)

    assert is_identity(adapted())
    assert not is_identity(adapted(init_lora_weights="pissa"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_a_precomputed_reference_trains_the_same_and_is_computed_once(
    tmp_path: Path, tiny: Path, pairs: Path
) -> None:
    keys = {"stage": "dpo", "max_steps": 6, "optim": "sgd", "learning_rate": 1e-1}
    beside, _ = train(tmp_path / "a", tiny, pairs, precompute_ref_log_probs="false", **keys)
    before, recorded = train(tmp_path / "b", tiny, pairs, precompute_ref_log_probs="true", **keys)
    again, recorded_again = train(
        tmp_path / "c", tiny, pairs, precompute_ref_log_probs="true", **keys
    )
    assert "32 computed, 0 from cache" in notes(recorded, "precompute_ref_log_probs")[0]
    assert "0 computed, 32 from cache" in notes(recorded_again, "precompute_ref_log_probs")[0]
    for name, value in weights(beside).items():
        # SGD: weights differ by the rate times the rounding of gradients, 1e-6 of about 1.
        assert torch.allclose(value, weights(before)[name], atol=1e-5)
        assert torch.equal(weights(before)[name], weights(again)[name])


def test_another_model_does_not_use_the_cached_reference(
    tmp_path: Path, tiny: Path, tiny_models: dict[str, Path], pairs: Path
) -> None:
    keys = {"stage": "dpo", "precompute_ref_log_probs": "true", "max_steps": 1}
    train(tmp_path / "a", tiny, pairs, **keys)
    _, recorded = train(tmp_path / "b", tiny_models["llama"], pairs, **keys)
    assert "32 computed, 0 from cache" in notes(recorded, "precompute_ref_log_probs")[0]


@pytest.mark.parametrize("stage", ["dpo", "orpo", "simpo", "cpo"])
def test_shared_prompts_train_what_padded_pairs_train(
    stage: str, tmp_path: Path, tiny: Path, pairs: Path
) -> None:
    keys = {"stage": stage, "max_steps": 4, "optim": "sgd", "learning_rate": 1e-2}
    shared, recorded = train(tmp_path / "shared", tiny, pairs, **keys)
    padded, _ = train(tmp_path / "padded", tiny, pairs, padding_free="false", **keys)
    assert "computed once" in notes(recorded, "prefix_sharing")[0]
    for name, value in weights(shared).items():
        # SGD: the rate times the rounding of gradients is 1e-8.
        assert torch.allclose(value, weights(padded)[name], atol=1e-5)


def test_gradients_do_not_depend_on_how_pairs_are_spread_over_batches(
    tmp_path: Path, tiny: Path, pairs: Path
) -> None:
    keys = {"stage": "dpo", "max_steps": 2, "optim": "sgd", "learning_rate": 1e-1}
    single, _ = train(tmp_path / "whole", tiny, pairs, **keys)
    spread = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    parts, _ = train(tmp_path / "parts", tiny, pairs, **{**keys, **spread})
    for name, value in weights(single).items():
        # SGD: the rate times the rounding of gradients is 1e-7.
        assert torch.allclose(value, weights(parts)[name], atol=1e-5)


def test_the_published_yaml_of_dpo_with_orpo_runs(tmp_path: Path, tiny: Path, pairs: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(
        f"model: {tiny}\nhub: local\ndataset: {pairs}\ntrain_type: dpo\nbeta: 0.1\n"
        "reference_free: false\nloss_type: orpo\nmax_steps: 1\nsave_steps: 0\nreport_to: none\n",
        "utf-8",
    )
    loaded = load(path)
    assert loaded.config.model_dump()["stage"] == "orpo"
    assert any("separate method, stage: orpo" in note for note in loaded.notes)
    assert any("reference_free" in note for note in loaded.notes)
    folder = tmp_path / "run"
    folder.mkdir()
    recorded: Recorded = []
    config = plan(loaded.config, made_up("cpu")).config
    TASKS["train"].run(config, folder, lambda event, **fields: recorded.append((event, fields)))
    assert len(of_kind(recorded, "step")) == 1


def test_rewards_of_good_and_bad_answers_are_averaged_separately(
    tmp_path: Path, tiny: Path
) -> None:
    data = write_labels(tmp_path / "rows.jsonl", 24)
    keys = {"stage": "kto", "max_steps": 2, "optim": "sgd", "learning_rate": 1e-12}
    shifted, right = [], ReferencePolicy.sums
    for shift in (0.0, 1.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReferencePolicy, "sums", lambda *a, by=shift: right(*a) - by)
            _, recorded = train(tmp_path / str(shift), tiny, data, beta=0.5, **keys)
        metrics = of_kind(recorded, "step")[0]["metrics"]
        shifted.append((metrics["rewards/desirable"], metrics["rewards/undesirable"]))
    for before, after in zip(*shifted, strict=True):
        assert after - before == pytest.approx(0.5, abs=1e-3)  # rewards of up to 100, in float32


RESUMED = {
    "dpo beside": {"stage": "dpo", "precompute_ref_log_probs": "false"},
    "dpo precomputed": {"stage": "dpo", "precompute_ref_log_probs": "true"},
    "dpo in full": {
        "stage": "dpo",
        "tuner_type": "full",
        "precompute_ref_log_probs": "false",
        "learning_rate": 1e-4,
    },
    "kto": {"stage": "kto"},
    "reward": {"stage": "reward"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_ends_where_the_uninterrupted_one_ends(
    name: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {"max_steps": 6, "save_steps": 3, "learning_rate": 1e-3, **RESUMED[name]}
    write = write_labels if keys["stage"] == "kto" else write_pairs
    data = write(tmp_path / "rows.jsonl", 24)
    saved, _ = train(tmp_path / "run", tiny, data, **keys)
    require_same_after_resume(saved, last=6, earlier=3)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["dapo", "grpo", "rloo"])
def test_a_model_learns_from_its_own_answers(loss: str, tmp_path: Path, tiny: Path) -> None:
    pytest.importorskip("trl")
    rewards = tmp_path / "my_rewards.py"
    rewards.write_text(
        "def short(completions, **columns):\n"
        "    assert len(columns['level']) == len(completions)\n"
        "    return [1.0 / (1 + len(one[0]['content'])) for one in completions]\n",
        "utf-8",
    )
    data = tmp_path / "prompts.jsonl"
    data.write_text('{"prompt": "say a word", "level": 1}\n' * 16, "utf-8")
    keys = {
        "stage": "grpo",
        "loss_type": loss,
        "reward_funcs": [f"{rewards}:short"],
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 2,
        "save_steps": 1,
        "learning_rate": 1e-2,
    }
    saved, recorded = train(tmp_path / "run", tiny, data, **keys)
    steps = of_kind(recorded, "step")
    assert len(steps) == 2
    assert steps[0]["metrics"]["reward"] > 0
    assert any(value.abs().sum() > 0 for name, value in weights(saved).items() if "lora_B" in name)
    assert [checkpoint["step"] for checkpoint in of_kind(recorded, "checkpoint")] == [1, 2]


@pytest.mark.slow
def test_answers_that_are_not_judged_are_reported_without_stopping(
    tmp_path: Path, tiny: Path
) -> None:
    pytest.importorskip("trl")
    data = tmp_path / "prompts.jsonl"
    data.write_text('{"prompt": "say a word", "solution": "4"}\n' * 8, "utf-8")
    keys = {
        "stage": "grpo",
        "reward_funcs": ["accuracy"],
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 1,
        "save_steps": 0,
    }
    _, recorded = train(tmp_path / "run", tiny, data, **keys)
    (warning,) = [
        event for event in of_kind(recorded, "warning") if "does not judge" in event["message"]
    ]
    assert "accuracy" in warning["message"]
    (step,) = of_kind(recorded, "step")
    assert step["metrics"]["rewards/accuracy/unjudged"] == 1.0
