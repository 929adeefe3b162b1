"""Every tuner trains: the loss falls, what is saved loads again and says the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from peft import PeftModel
from tiny import write_chats, write_config, write_labels, write_pairs, write_texts
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    TrainingArguments,
)

from swiftbox.config.combinations import require_compatible
from swiftbox.config.train import TrainConfig
from swiftbox.core.training import session
from swiftbox.core.training.galore import leading_directions, project, project_back
from swiftbox.core.training.neftune import add_noise, row_lengths
from swiftbox.core.training.optimizers import lora_plus
from swiftbox.core.tuners.attach import attach
from swiftbox.core.tuners.full import freeze
from swiftbox.core.tuners.initialization import changes_base
from swiftbox.core.tuners.llamapro import expand
from swiftbox.core.weights.load import load_pretrained
from swiftbox.errors import ConfigError
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 30


@dataclass(frozen=True)
class Case:
    """Settings of a tuner, and by how much (nats per token) 30 steps must lower the loss."""

    margin: float
    keys: dict[str, Any] = field(default_factory=dict)
    model: str = "llama"


LORA = {"tuner_type": "lora", "learning_rate": 1e-2}

TUNERS = {
    "lora": Case(1.0, LORA),
    "lora on qwen3": Case(1.0, LORA, "qwen3"),
    "dora": Case(1.0, {**LORA, "use_dora": True}),
    "rslora": Case(1.0, {**LORA, "use_rslora": True, "learning_rate": 3e-3}),
    "gaussian": Case(1.0, {**LORA, "init_lora_weights": "gaussian"}),
    "pissa": Case(1.0, {**LORA, "init_lora_weights": "pissa"}),
    "pissa, few iterations": Case(1.0, {**LORA, "init_lora_weights": "pissa_niter_4"}),
    "olora": Case(1.0, {**LORA, "init_lora_weights": "olora", "learning_rate": 3e-3}),
    "eva": Case(1.0, {**LORA, "init_lora_weights": "eva", "lora_rank": 4}),
    "lora_ga": Case(1.0, {**LORA, "init_lora_weights": "lora_ga"}),
    "lora+": Case(1.0, {**LORA, "lora_plus_lr_ratio": 16, "learning_rate": 1e-3}),
    "lora-fa": Case(1.0, {**LORA, "optim": "lora_fa", "learning_rate": 1e-2}),
    "patterns": Case(
        0.8,
        {
            **LORA,
            "rank_pattern": {"q_proj": 4},
            "alpha_pattern": {"v_proj": 64},
            "exclude_modules": ["gate_proj"],
            "layers_to_transform": [1],
        },
    ),
    "qlora": Case(1.0, {**LORA, "tuner_type": "qlora"}),
    "qlora int8": Case(1.0, {**LORA, "tuner_type": "qlora", "quant_bits": 8}),
    "qlora fp4": Case(1.0, {**LORA, "quant_bits": 4, "bnb_4bit_quant_type": "fp4"}, "qwen3"),
    "full": Case(1.0, {"tuner_type": "full", "learning_rate": 3e-3}),
    "frozen": Case(
        0.7,
        {"tuner_type": "full", "learning_rate": 3e-3, "freeze_parameters": ["embed", r"\.0\."]},
    ),
    "galore": Case(
        1.0,
        {
            "tuner_type": "full",
            "optim": "galore_adamw",
            "galore_rank": 8,
            "galore_update_proj_gap": 10,
            "learning_rate": 1e-2,
        },
    ),
    "adalora": Case(
        0.3, {"tuner_type": "adalora", "learning_rate": 3e-2, "adalora_deltaT": 2}, "qwen3"
    ),
    "ia3": Case(0.3, {"tuner_type": "ia3", "learning_rate": 5e-2}),
    "oft": Case(1.0, {"tuner_type": "oft", "learning_rate": 1e-2}),
    "vera": Case(0.3, {"tuner_type": "vera", "learning_rate": 5e-2, "vera_rank": 64}),
    "llamapro": Case(
        0.7, {"tuner_type": "llamapro", "learning_rate": 3e-3, "llamapro_num_new_blocks": 2}
    ),
    "neftune": Case(1.0, {**LORA, "neftune_noise_alpha": 5}),
}


@dataclass
class Trained:
    """What a run left, and the network as it was when training ended."""

    folder: Path
    network: Any
    said: list[tuple[str, dict[str, Any]]]

    @property
    def losses(self) -> list[float]:
        return [fields["loss"] for event, fields in self.said if event == "step"]

    def notes(self, key: str) -> str:
        return " ".join(
            fields["message"]
            for event, fields in self.said
            if event == "note" and fields["key"] == key
        )


def train(tmp_path: Path, model: Path, stage: str = "sft", **keys: object) -> Trained:
    """Plan and train in this process; keep the network."""
    write = ROWS.get(stage, write_pairs)
    data = write(tmp_path / f"rows{'.txt' if stage == 'pt' else '.jsonl'}", 32)
    keys = {"max_steps": STEPS, "save_steps": 0, "per_device_train_batch_size": 4, **keys}
    path = write_config(tmp_path / "a.yaml", model, data, stage=stage, max_length=96, **keys)
    planned = plan(load(path).config, made_up("cpu"))
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
    kept: list[Any] = []
    said: list[tuple[str, dict[str, Any]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "adapted_network", partial(keeping, session.adapted_network, kept))
        made = TASKS["train"].run(
            planned.config, folder, lambda event, **fields: said.append((event, fields))
        )
    return Trained(made, kept[0], said)


def keeping(make: Any, kept: list[Any], *arguments: Any, **named: Any) -> Any:
    kept.append(make(*arguments, **named))
    return kept[-1]


def reloaded(trained: Trained, base: Path, *, scores: bool = False) -> Any:
    """Load what was saved as the product does; a quantized base is quantized as it was."""
    load = partial(load_pretrained, labels=1 if scores else None, dtype=torch.float32)
    if not (trained.folder / "adapter_config.json").is_file():
        return load(trained.folder)
    own = trained.network.config
    quantized = {"quantization_config": own.quantization_config} if quantizes(own) else {}
    fresh = load(base, **quantized)
    return PeftModel.from_pretrained(fresh, trained.folder)


def quantizes(config: Any) -> bool:
    return getattr(config, "quantization_config", None) is not None


def logits(network: Any) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return network(input_ids=torch.arange(40)[None] + 7, use_cache=False).logits.float()


def answer(network: Any, folder: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer("<|im_start|>user\nJSON encoder", return_tensors="pt")
    network.eval()
    made = network.generate(
        **asked, max_new_tokens=8, do_sample=False, use_cache=True, pad_token_id=0
    )
    return made[0].tolist()


ROWS = {"sft": write_chats, "pt": write_texts, "kto": write_labels}
"""What writes the rows of a stage; pairs where none is named."""

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
"""By how much 30 steps bring the loss of a stage down, whatever the tuner."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("stage", FALLS)
def test_every_tuner_learns_in_every_stage(
    name: str, stage: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    case = TUNERS[name]
    trained = train(tmp_path, tiny_models[case.model], stage, **case.keys)
    before, after = sum(trained.losses[:3]) / 3, sum(trained.losses[-3:]) / 3
    assert after < before - FALLS[stage], (before, after)
    again = reloaded(trained, tiny_models[case.model], scores=stage == "reward")
    difference = (logits(again) - logits(trained.network)).abs().max()
    assert difference <= 1e-5 * logits(again).abs().max()
    if stage != "reward":
        assert answer(again, trained.folder) == answer(trained.network, trained.folder)


@pytest.mark.parametrize("name", TUNERS)
@pytest.mark.parametrize("stage", ["sft"])
def test_a_tuner_learns_saves_reloads_and_says_the_same(
    name: str, stage: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    case = TUNERS[name]
    trained = train(tmp_path, tiny_models[case.model], stage, **case.keys)
    assert len(trained.losses) == STEPS
    before, after = sum(trained.losses[:3]) / 3, sum(trained.losses[-3:]) / 3
    assert after < before - case.margin, (before, after)
    again = reloaded(trained, tiny_models[case.model])
    difference = (logits(again) - logits(trained.network)).abs().max()
    assert difference <= 1e-5 * logits(again).abs().max()
    assert answer(again, trained.folder) == answer(trained.network, trained.folder)


BEGINS = {"true": False, "gaussian": False, "eva": False, "pissa": True, "olora": True}


@pytest.mark.parametrize("init", [*BEGINS, "pissa_niter_4", "lora_ga"])
def test_it_is_known_which_first_values_change_the_base(init: str, tiny: Path) -> None:
    settings = of_tuner(tiny, init_lora_weights=init)
    assert changes_base(settings) is BEGINS.get(init, True)
    going_on = settings.model_copy(update={"adapter": "folder"})
    assert not changes_base(going_on)
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
def test_values_made_from_rows_are_refused_without_rows(init: str, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with pytest.raises(ConfigError, match=f"{init} needs training rows"):
        attach(model, of_tuner(tiny, init_lora_weights=init))


def test_rslora_with_patterns_is_saved_for_the_original_base(tmp_path: Path, tiny: Path) -> None:
    keys = {"use_rslora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 16}}
    trained = train(tmp_path, tiny, max_steps=3, init_lora_weights="pissa", **keys)
    again = reloaded(trained, tiny)
    difference = (logits(again) - logits(trained.network)).abs().max()
    assert difference <= 1e-5 * logits(again).abs().max()
    assert json.loads((trained.folder / "adapter_config.json").read_text())["r"] == 16


@pytest.mark.parametrize(
    ("keys", "message", "hint"),
    [
        ({"freeze_parameters": ["embd_tokens"]}, "no parameter matches embd_tokens", "embed"),
        ({"trainable_parameters": ["layers.9."]}, "no parameter matches", "layers"),
        ({"freeze_parameters": ["."]}, "every parameter is frozen", "trainable_parameters"),
    ],
)
def test_a_freeze_pattern_that_means_nothing_is_refused(
    keys: dict[str, Any], message: str, hint: str, tiny: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    with pytest.raises(ConfigError, match=message) as caught:
        freeze(model, of_tuner(tiny, tuner_type="full", **keys))
    assert hint in caught.value.hint


def test_only_what_is_named_is_trained(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    freeze(model, of_tuner(tiny, tuner_type="full", trainable_parameters=["norm"]))
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    assert trained
    assert all("norm" in name for name in trained)


def test_the_b_matrices_learn_faster_by_the_ratio(tmp_path: Path, tiny: Path) -> None:
    trained = train(tmp_path, tiny, max_steps=1)
    arguments = TrainingArguments(output_dir=str(tmp_path), learning_rate=1e-3, use_cpu=True)
    made = lora_plus(trained.network, arguments, ratio=16)
    rates = {id(one): group["lr"] for group in made.param_groups for one in group["params"]}
    for name, one in trained.network.named_parameters():
        if "lora_A" in name:
            assert rates[id(one)] == 1e-3
        if "lora_B" in name:
            assert rates[id(one)] == pytest.approx(16e-3)


def test_lora_fa_leaves_the_a_matrices_as_they_began(tmp_path: Path, tiny: Path) -> None:
    trained = train(tmp_path, tiny, max_steps=3, optim="lora_fa")
    frozen = {name for name, one in trained.network.named_parameters() if not one.requires_grad}
    assert any("lora_A" in name for name in frozen)
    assert not any("lora_B" in name for name in frozen)


def test_noise_goes_by_the_length_of_each_row() -> None:
    joined = {"position_ids": torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]])}
    assert row_lengths(joined).tolist() == [[3, 3, 3, 2, 2], [5] * 5]
    padded = {"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    assert row_lengths(padded).tolist() == [[2, 2, 2], [3, 3, 3]]


def test_noise_stays_within_its_reach_and_is_for_training_only(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    ids, positions = torch.arange(6)[None], torch.tensor([[0, 1, 0, 1, 2, 3]])
    seen: list[torch.Tensor] = []
    add_noise(model, 5.0)
    first = model.model.layers[0]
    first.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    for training in (False, True):
        model.train(training)(input_ids=ids, position_ids=positions, use_cache=False)
    moved = (seen[1] - seen[0]).abs().amax(-1)[0]  # (T,)
    reach = 5.0 / (torch.tensor([2, 2, 4, 4, 4, 4]) * 64).sqrt()
    assert (moved <= reach).all()
    assert (moved > 0.8 * reach).all()


def test_adalora_ends_at_its_average_rank(tmp_path: Path, tiny: Path) -> None:
    keys = {"adalora_init_r": 6, "adalora_target_r": 3, "adalora_deltaT": 1}
    trained = train(tmp_path, tiny, tuner_type="adalora", learning_rate=3e-2, **keys)
    said = json.loads((trained.folder / "adapter_config.json").read_text("utf-8"))
    kept = [sum(one) for one in said["rank_pattern"].values()]
    assert sum(kept) == 3 * len(kept) == 3 * 14
    assert said["total_step"] == STEPS


def test_new_blocks_do_nothing_at_first_and_are_all_that_is_trained(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    before = logits(model)
    expand(model, 2)
    assert model.config.num_hidden_layers == len(model.model.layers) == 4
    assert torch.allclose(logits(model), before, atol=1e-5)
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert {name.split(".")[2] for name in trained} == {"1", "3"}
    with pytest.raises(ConfigError, match="does not divide 4 layers"):
        expand(model, 3)


def test_galore_projects_and_projects_back_within_the_subspace() -> None:
    torch.manual_seed(0)
    for shape in ((6, 10), (10, 6), (8, 8)):
        gradient = torch.randn(shape[0], 2) @ torch.randn(2, shape[1])  # rank 2
        basis = leading_directions(gradient, 2)
        back = project_back(project(gradient, basis), basis)
        assert torch.allclose(back, gradient, atol=1e-5)


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
    whole = train(tmp_path, tiny, **keys)
    for left in ("checkpoint-4", "../model"):
        shutil.rmtree(whole.folder.parent / "checkpoints" / left)
    again = train(tmp_path, tiny, **keys)
    assert "checkpoint-2" in again.notes("resume")
    assert again.losses == whole.losses[2:]
    assert torch.equal(logits(again.network), logits(whole.network))
