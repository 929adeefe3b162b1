"""Our losses and gradients equal TRL's on the same batch and the same weights.

Models are float64, so the order of summation, which differs between padded and joined batches and
between processors, does not matter. (In float32 the comparison differs by up to 1.1e-5.)
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from preferences import context, labeled_answers, padded, pairs
from preferences import load as load_model
from tiny import train_tokenizer
from transformers import AutoModelForSequenceClassification

from swiftbox.core.data.batches import LINES, PADDED, SHARED
from swiftbox.core.data.samples import PreferencePair
from swiftbox.core.losses.kto_baseline import mismatched_rows
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.scoring import scores
from swiftbox.core.losses.teacher import Teacher
from swiftbox.core.losses.terms import LossContext
from swiftbox.methods import METHODS

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # TRL's and its imports' own
    pytest.mark.slow,
]

ARCHITECTURES = ("llama", "qwen3")
TOLERANCE = 1e-5
"""TRL rounds log-probabilities to float32, by 6e-8. The losses of a batch amplify that to 1.3e-6 of
the loss or of the gradient's norm at most; the rest of the computation adds less than 1e-12."""
EXACT_TOLERANCE = 1e-7
"""Where TRL computes in float64 as well: only RMSNorm rounds to float32, equally on both sides
except for single values. Measured: 1e-15."""

ROWS = Dataset.from_list(
    [{"prompt": "a b", "chosen": "c d", "rejected": "e f", "completion": "g", "label": True}] * 4
)
TRL_NAMES = {"sppo": "sppo_hard"}
"""Names of losses that differ."""

Gradient = torch.Tensor


def load(folder: Path) -> Any:
    return load_model(folder, torch.float64)


class FixedReference:
    """A reference policy that is another model."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def sums(self, _model: Any, _known: Any, batch: Any, _reader: Any, sequences: int) -> Any:
        with torch.no_grad():
            return scores(self.model, batch, reader_for(self.model), sequences=sequences).sums


def options(config_class: Any, folder: Path, **more: Any) -> Any:
    return config_class(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        per_device_train_batch_size=4,
        **more,
    )


def gradient_of(model: Any) -> Gradient:
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return torch.cat([gradient.flatten() for gradient in gradients])


def our_loss(
    stage: str, policy: Any, batch: dict[str, Any], settings: LossContext
) -> tuple[torch.Tensor, Gradient]:
    """Return our loss of a batch, and its gradient."""
    policy.zero_grad()
    terms = METHODS[stage].loss(policy, batch, settings)
    loss = terms.total / terms.count
    loss.backward()
    return loss.detach(), gradient_of(policy)


def assert_equal(
    ours: tuple[torch.Tensor, Gradient],
    theirs: tuple[torch.Tensor, Gradient],
    tolerance: float = TOLERANCE,
) -> None:
    """Compare two losses and their gradients."""
    assert ours[1].dtype == theirs[1].dtype == torch.float64
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=tolerance, rel=tolerance)
    assert (ours[1] - theirs[1]).norm() <= tolerance * theirs[1].norm()


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


def trl_dpo(dpo: dict[str, Any], rows: list[PreferencePair], **settings: Any) -> Any:
    trainer = dpo["trainer"]
    for name, value in {"loss_weights": [1.0], "label_smoothing": 0.0, **settings}.items():
        setattr(trainer, name, value)
    batch = padded([pair.chosen for pair in rows] + [pair.rejected for pair in rows])
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch, False)
    loss.backward()
    return loss.detach(), gradient_of(trainer.model)


def our_dpo(dpo: dict[str, Any], rows: list[PreferencePair], layout: str, **settings: Any) -> Any:
    policy, reference = dpo["policy"], FixedReference(dpo["reference"])
    batch = METHODS["dpo"].collate([[pair] for pair in rows], layout)
    return our_loss("dpo", policy, batch, context(policy, "dpo", reference, beta=0.3, **settings))


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
def test_dpo_and_its_gradient_equal_trls(
    dpo: dict[str, Any], loss: str, smoothing: float, layout: str
) -> None:
    rows = pairs(4)
    names = [TRL_NAMES.get(loss, loss)]
    theirs = trl_dpo(dpo, rows, loss_types=names, label_smoothing=smoothing)
    assert_equal(our_dpo(dpo, rows, layout, loss_type=loss, label_smoothing=smoothing), theirs)


def test_a_weighted_list_of_losses_equals_trls(dpo: dict[str, Any]) -> None:
    rows = pairs(4)
    names, weights = ["sigmoid", "apo_zero", "sft"], [0.8, 0.5, 1.5]
    theirs = trl_dpo(dpo, rows, loss_types=names, loss_weights=weights)
    assert_equal(our_dpo(dpo, rows, SHARED, loss_type=names, loss_weights=weights), theirs)


def test_rpo_alpha_equals_trls_sft_term(dpo: dict[str, Any]) -> None:
    rows = pairs(4)
    theirs = trl_dpo(dpo, rows, loss_types=["sigmoid", "sft"], loss_weights=[1.0, 0.7])
    assert_equal(our_dpo(dpo, rows, SHARED, loss_type="sigmoid", rpo_alpha=0.7), theirs)


def tokenized(rows: list[PreferencePair]) -> dict[str, torch.Tensor]:
    """Return pairs in the format of TRL's experimental trainers."""
    tensors: dict[str, torch.Tensor] = {}
    for side in ("chosen", "rejected"):
        batch = padded([getattr(pair, side) for pair in rows])
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        tensors |= {
            f"{side}_input_ids": batch["input_ids"],
            f"{side}_attention_mask": batch["attention_mask"],
            f"{side}_labels": labels,
        }
    return tensors


def experimental_trainer(stage: str, model: Any, folder: Path, **settings: Any) -> Any:
    if stage == "orpo":
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


WITHOUT_REFERENCE = {
    "orpo": ("orpo", {"beta": 0.3}, {}),
    "cpo": ("cpo", {"beta": 0.3, "cpo_alpha": 1.0}, {"loss_type": "sigmoid"}),
    "cpo smoothed": (
        "cpo",
        {"beta": 0.3, "cpo_alpha": 0.5, "label_smoothing": 0.1},
        {"loss_type": "sigmoid"},
    ),
    "cpo hinge": ("cpo", {"beta": 0.3, "cpo_alpha": 0.0}, {"loss_type": "hinge"}),
    "simpo": (
        "simpo",
        {"beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.0},
        {"loss_type": "simpo"},
    ),
    "cpo-simpo": (
        "simpo",
        {"beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.4},
        {"loss_type": "simpo"},
    ),
}
"""The stage, the settings of both sides, and the loss_type."""


@pytest.mark.parametrize("name", WITHOUT_REFERENCE)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_methods_without_a_reference_equal_trls(
    architecture: str, name: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    stage, settings, loss_type = WITHOUT_REFERENCE[name]
    rows = pairs(4, learns_prompt=stage == "orpo")  # TRL's likelihood includes the prompt there
    model = load(tiny_models[architecture])
    trainer = experimental_trainer(stage, model, tmp_path, **settings, **loss_type)
    theirs, _ = trainer.get_batch_loss_metrics(trainer.model, tokenized(rows), "train")
    theirs.backward()
    policy = load(tiny_models[architecture])
    ours = settings | (loss_type if stage == "cpo" else {})
    batch = METHODS[stage].collate([[pair] for pair in rows], SHARED)
    assert_equal(
        our_loss(stage, policy, batch, context(policy, stage, **ours)),
        (theirs, gradient_of(trainer.model)),
    )


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kto_equals_trls(
    architecture: str, loss: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    from trl import KTOConfig, KTOTrainer

    other = "llama" if architecture == "qwen3" else "qwen3"
    settings = {"loss_type": loss, "desirable_weight": 1.2, "undesirable_weight": 0.7, "beta": 0.3}
    trainer = KTOTrainer(
        model=load(tiny_models[architecture]),
        ref_model=load(tiny_models[other]),
        args=options(KTOConfig, tmp_path, train_sampling_strategy="sequential", **settings),
        train_dataset=ROWS.select_columns(["prompt", "completion", "label"]),
        processing_class=train_tokenizer(),
    )
    answers = labeled_answers(5)
    rows = [answer.row for answer in answers]
    mismatched = padded(mismatched_rows(rows))
    batch: dict[str, Any] = padded(rows)
    batch |= {f"KL_{key}": value for key, value in mismatched.items()}
    batch["label"] = torch.tensor([answer.label for answer in answers])
    theirs = trainer._compute_loss(trainer.model, batch, False)
    theirs.backward()
    policy, reference = load(tiny_models[architecture]), FixedReference(load(tiny_models[other]))
    ours = METHODS["kto"].collate([[answer] for answer in answers], LINES)
    assert_equal(
        our_loss("kto", policy, ours, context(policy, "kto", reference, **settings)),
        (theirs, gradient_of(trainer.model)),
    )


def reward_model(folder: Path) -> Any:
    torch.manual_seed(1)  # of the new score head
    return AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float64
    )


@pytest.mark.parametrize("centering", [0.0, 0.3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reward_equals_trls(
    architecture: str, centering: float, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    from trl import RewardConfig, RewardTrainer

    trainer = RewardTrainer(
        model=reward_model(tiny_models[architecture]),
        args=options(RewardConfig, tmp_path, center_rewards_coefficient=centering or None),
        train_dataset=ROWS.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=train_tokenizer(),
    )
    rows = [
        PreferencePair(pair.chosen, pair.rejected, margin=0.25 * number)
        for number, pair in enumerate(pairs(4))
    ]
    sequences = [pair.chosen for pair in rows] + [pair.rejected for pair in rows]
    batch: dict[str, Any] = padded(sequences)
    del batch["completion_mask"]
    # TRL's pooling takes the last token that is not padding, and 0 is the padding token.
    assert not any(np.any(sequence.input_ids == 0) for sequence in sequences)
    batch["margin"] = torch.tensor([pair.margin for pair in rows])
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    settings = LossContext(SimpleNamespace(center_rewards_coefficient=centering))
    ours = METHODS["reward"].collate([[pair] for pair in rows], LINES)
    assert_equal(
        our_loss("reward", reward_model(tiny_models[architecture]), ours, settings),
        (theirs, gradient_of(trainer.model)),
        EXACT_TOLERANCE,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sft_equals_trls(architecture: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=load(tiny_models[architecture]),
        args=options(SFTConfig, tmp_path),
        train_dataset=ROWS.select_columns(["prompt", "completion"]),
        processing_class=train_tokenizer(),
    )
    rows = [pair.chosen for pair in pairs(5)]
    batch = padded(rows)
    mask = batch.pop("completion_mask")
    batch["labels"] = batch["input_ids"].masked_fill(mask == 0, -100)
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    policy = load(tiny_models[architecture])
    ours = METHODS["sft"].collate([rows], LINES)
    assert_equal(
        our_loss("sft", policy, ours, context(policy, "sft")),
        (theirs, gradient_of(trainer.model)),
    )


@pytest.mark.parametrize("layout", [LINES, PADDED])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_distillation_and_its_gradient_equal_trls(
    beta: float, layout: str, tiny_models: dict[str, Path]
) -> None:
    from trl.experimental.gkd import GKDTrainer

    student, teacher = load(tiny_models["qwen3"]), load(tiny_models["llama"]).requires_grad_(False)
    rows = [pair.chosen for pair in pairs(4)]
    batch = padded(rows)
    trainer = SimpleNamespace(teacher_model=teacher, beta=beta)
    trainer.generalized_jsd_loss = GKDTrainer.generalized_jsd_loss
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    inputs = {**batch, "labels": labels}
    theirs = GKDTrainer.compute_loss(trainer, student, inputs)
    theirs.backward()
    expected = theirs.detach(), gradient_of(student)
    settings = replace(
        context(student, "gkd", beta=beta), teacher=Teacher(teacher, reader_for(teacher))
    )
    ours = our_loss(
        "gkd", student, METHODS["gkd"].collate([[row] for row in rows], layout), settings
    )
    assert_equal(ours, expected, EXACT_TOLERANCE)
