"""Our losses against TRL's on the same batch and the same weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from preferences import context, judged, load, padded, pairs
from tiny import train_tokenizer

from swiftbox.core.data.batches import LINES, PADDED, SHARED
from swiftbox.core.data.samples import PreferencePair
from swiftbox.core.losses.kto_baseline import mismatched_rows
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.scoring import scores
from swiftbox.methods import METHODS

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # TRL's and its imports' own
    pytest.mark.slow,
]

ARCHITECTURES = ("llama", "qwen3")
ROWS = Dataset.from_list(
    [{"prompt": "a b", "chosen": "c d", "rejected": "e f", "completion": "g", "label": True}] * 4
)
THEIRS = {"sppo": "sppo_hard"}
"""Names of losses that differ."""


class Given:
    """A reference whose log-probabilities another model gives."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def sums(self, _model: Any, _known: Any, batch: Any, _readout: Any, sequences: int) -> Any:
        with torch.no_grad():
            return scores(self.model, batch, reader_for(self.model), sequences=sequences).sums


def options(kind: Any, folder: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        per_device_train_batch_size=4,
        **more,
    )


@pytest.fixture(scope="module", params=ARCHITECTURES)
def dpo(request: Any, tiny_models: dict[str, Path], tmp_path_factory: Any) -> dict[str, Any]:
    """TRL's trainer with a policy and another model as its reference; and the same two for us."""
    from trl import DPOConfig, DPOTrainer

    other = "llama" if request.param == "qwen3" else "qwen3"
    folders = tiny_models[request.param], tiny_models[other]
    trainer = DPOTrainer(
        model=load(folders[0]),
        ref_model=load(folders[1]),
        args=options(DPOConfig, tmp_path_factory.mktemp("dpo"), beta=0.3),
        train_dataset=ROWS.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=train_tokenizer(),
    )
    return {"trainer": trainer, "policy": load(folders[0]), "reference": load(folders[1])}


def theirs(dpo: dict[str, Any], rows: list[PreferencePair], **settings: Any) -> Any:
    trainer = dpo["trainer"]
    for name, value in {"loss_weights": [1.0], "label_smoothing": 0.0, **settings}.items():
        setattr(trainer, name, value)
    batch = padded([one.chosen for one in rows] + [one.rejected for one in rows])
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch, False)
    loss.backward()
    return loss.detach(), flat(trainer.model)


def flat(model: Any) -> torch.Tensor:
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


def ours(dpo: dict[str, Any], rows: list[PreferencePair], layout: str, **settings: Any) -> Any:
    policy = dpo["policy"]
    given = context(policy, "dpo", Given(dpo["reference"]), beta=0.3, **settings)
    policy.zero_grad()
    method = METHODS["dpo"]
    terms = method.loss(policy, method.collate([[one] for one in rows], layout), given)
    loss = terms.total / terms.count
    loss.backward()
    return loss.detach(), flat(policy)


@pytest.mark.parametrize("layout", [SHARED, LINES, PADDED])
@pytest.mark.parametrize(
    ("loss", "smoothing"),
    [
        ("sigmoid", 0.0),
        ("hinge", 0.0),
        ("ipo", 0.0),
        ("robust", 0.1),
        ("apo_zero", 0.0),
        ("apo_down", 0.0),
        ("sppo", 0.0),
        ("exo_pair", 0.1),
        ("sft", 0.0),
    ],
)
def test_dpo_and_its_gradient_are_trls(
    dpo: dict[str, Any], loss: str, smoothing: float, layout: str
) -> None:
    rows = pairs(4)
    wanted, slope = theirs(
        dpo, rows, loss_types=[THEIRS.get(loss, loss)], label_smoothing=smoothing
    )
    found, own = ours(dpo, rows, layout, loss_type=loss, label_smoothing=smoothing)
    assert found == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)
    assert (own - slope).norm() <= 1e-5 * slope.norm()


def test_a_weighted_list_of_losses_is_trls(dpo: dict[str, Any]) -> None:
    rows = pairs(4)
    names, weights = ["sigmoid", "apo_zero", "sft"], [0.8, 0.5, 1.5]
    wanted, slope = theirs(dpo, rows, loss_types=names, loss_weights=weights)
    found, own = ours(dpo, rows, SHARED, loss_type=names, loss_weights=weights)
    assert found == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)
    assert (own - slope).norm() <= 1e-5 * slope.norm()


def test_rpo_alpha_is_trls_sft_term(dpo: dict[str, Any]) -> None:
    rows = pairs(4)
    wanted, _ = theirs(dpo, rows, loss_types=["sigmoid", "sft"], loss_weights=[1.0, 0.7])
    found, _ = ours(dpo, rows, SHARED, loss_type="sigmoid", rpo_alpha=0.7)
    assert found == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)


def tokenized(rows: list[PreferencePair]) -> dict[str, torch.Tensor]:
    """Lay pairs out as TRL's experimental trainers take them."""
    found: dict[str, torch.Tensor] = {}
    for side in ("chosen", "rejected"):
        batch = padded([getattr(one, side) for one in rows])
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        found |= {
            f"{side}_input_ids": batch["input_ids"],
            f"{side}_attention_mask": batch["attention_mask"],
            f"{side}_labels": labels,
        }
    return found


def experimental(name: str, model: Any, folder: Path, **settings: Any) -> Any:
    if name == "orpo":
        from trl.experimental.orpo import ORPOConfig as Config
        from trl.experimental.orpo import ORPOTrainer as Trainer
    else:
        from trl.experimental.cpo import CPOConfig as Config
        from trl.experimental.cpo import CPOTrainer as Trainer
    return Trainer(
        model=model,
        args=options(Config, folder, max_length=512, **settings),
        train_dataset=ROWS.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=train_tokenizer(),
    )


@pytest.mark.parametrize(
    ("stage", "settings", "named"),
    [
        ("orpo", {"beta": 0.3}, {}),
        ("cpo", {"beta": 0.3, "cpo_alpha": 1.0}, {"loss_type": "sigmoid"}),
        ("cpo", {"beta": 0.3, "cpo_alpha": 0.5, "label_smoothing": 0.1}, {"loss_type": "sigmoid"}),
        ("cpo", {"beta": 0.3, "cpo_alpha": 0.0}, {"loss_type": "hinge"}),
        ("simpo", {"beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.0}, {"loss_type": "simpo"}),
        ("simpo", {"beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.4}, {"loss_type": "simpo"}),
    ],
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_methods_without_a_reference_are_trls(
    architecture: str,
    stage: str,
    settings: dict[str, float],
    named: dict[str, str],
    tiny_models: dict[str, Path],
    tmp_path: Path,
) -> None:
    rows = pairs(4, learns_prompt=stage == "orpo")  # TRL's likelihood covers the prompt there
    trainer = experimental(stage, load(tiny_models[architecture]), tmp_path, **settings, **named)
    wanted, _ = trainer.get_batch_loss_metrics(trainer.model, tokenized(rows), "train")
    wanted.backward()
    policy = load(tiny_models[architecture])
    own = {key: value for key, value in named.items() if stage == "cpo"}
    given = context(policy, stage, **settings, **own)
    method = METHODS[stage]
    terms = method.loss(policy, method.collate([[one] for one in rows], SHARED), given)
    loss = terms.total / terms.count
    loss.backward()
    assert float(loss) == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)
    slope = flat(trainer.model)
    assert (flat(policy) - slope).norm() <= 1e-5 * slope.norm()


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kto_is_trls(
    architecture: str, loss: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    from trl import KTOConfig, KTOTrainer

    other = "llama" if architecture == "qwen3" else "qwen3"
    trainer = KTOTrainer(
        model=load(tiny_models[architecture]),
        ref_model=load(tiny_models[other]),
        args=options(
            KTOConfig,
            tmp_path,
            beta=0.3,
            loss_type=loss,
            desirable_weight=1.2,
            undesirable_weight=0.7,
            train_sampling_strategy="sequential",
        ),
        train_dataset=ROWS.select_columns(["prompt", "completion", "label"]),
        processing_class=train_tokenizer(),
    )
    rows = judged(5)
    batch: dict[str, Any] = padded([one.row for one in rows])
    foreign = padded(mismatched_rows([one.row for one in rows]))
    batch |= {f"KL_{key}": value for key, value in foreign.items()}
    batch["label"] = torch.tensor([one.label for one in rows])
    wanted = trainer._compute_loss(trainer.model, batch, False)
    wanted.backward()
    policy = load(tiny_models[architecture])
    settings = {"loss_type": loss, "desirable_weight": 1.2, "undesirable_weight": 0.7}
    given = context(policy, "kto", Given(load(tiny_models[other])), beta=0.3, **settings)
    method = METHODS["kto"]
    terms = method.loss(policy, method.collate([[one] for one in rows], LINES), given)
    (terms.total / terms.count).backward()
    assert float(terms.total / terms.count) == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)
    slope = flat(trainer.model)
    assert (flat(policy) - slope).norm() <= 1e-5 * slope.norm()


@pytest.mark.parametrize("centred", [0.0, 0.3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reward_is_trls(
    architecture: str, centred: float, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    def scoring() -> Any:
        torch.manual_seed(1)
        return AutoModelForSequenceClassification.from_pretrained(
            tiny_models[architecture], num_labels=1, dtype=torch.float32
        )

    trainer = RewardTrainer(
        model=scoring(),
        args=options(RewardConfig, tmp_path, center_rewards_coefficient=centred or None),
        train_dataset=ROWS.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=train_tokenizer(),
    )
    rows = pairs(4)
    rows = [
        PreferencePair(one.chosen, one.rejected, margin=0.25 * at) for at, one in enumerate(rows)
    ]
    batch: dict[str, Any] = padded([one.chosen for one in rows] + [one.rejected for one in rows])
    del batch["completion_mask"]
    # Their pooling takes the last token that is no padding: 0 is the tokenizer's padding token.
    assert not np.any([np.any(row.input_ids == 0) for one in rows for row in one.rows])
    batch["margin"] = torch.tensor([one.margin for one in rows])
    wanted = trainer.compute_loss(trainer.model, batch)
    wanted.backward()
    policy = scoring()
    method = METHODS["reward"]
    from types import SimpleNamespace

    from swiftbox.core.losses.terms import LossContext

    given = LossContext(SimpleNamespace(center_rewards_coefficient=centred))
    terms = method.loss(policy, method.collate([[one] for one in rows], LINES), given)
    (terms.total / terms.count).backward()
    assert float(terms.total / terms.count) == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)
    slope = flat(trainer.model)
    assert (flat(policy) - slope).norm() <= 1e-5 * slope.norm()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sft_is_trls(architecture: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=load(tiny_models[architecture]),
        args=options(SFTConfig, tmp_path),
        train_dataset=ROWS.select_columns(["prompt", "completion"]),
        processing_class=train_tokenizer(),
    )
    rows = [one.chosen for one in pairs(5)]
    batch = padded(rows)
    mask = batch.pop("completion_mask")
    batch["labels"] = batch["input_ids"].masked_fill(mask == 0, -100)
    wanted = trainer.compute_loss(trainer.model, batch)
    wanted.backward()
    policy = load(tiny_models[architecture])
    method = METHODS["sft"]
    terms = method.loss(policy, method.collate([rows], LINES), context(policy, "sft"))
    (terms.total / terms.count).backward()
    assert float(terms.total / terms.count) == pytest.approx(float(wanted), abs=1e-5, rel=1e-5)
    slope = flat(trainer.model)
    assert (flat(policy) - slope).norm() <= 1e-5 * slope.norm()
