"""Trainings of classifiers, whole: from a file of labelled texts to a model that loads again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from classifiers import NAMES, build_bert, texts_of, write_classes
from recorded_training import Recorded, of_kind, require_same_after_resume, train_config
from safetensors.torch import load_file
from tiny import write_config
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    pipeline,
)

from swiftbox.config.merge import MergeConfig
from swiftbox.tasks import TASKS

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")


def train(folder: Path, model: Path, data: Path, **keys: Any) -> tuple[Path, Recorded]:
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"stage": "classification", "max_steps": 12, "save_steps": 0, "learning_rate": 2e-2}
    usual |= {"per_device_train_batch_size": 6}
    return train_config(write_config(folder / "a.yaml", model, data, **{**usual, **keys}), folder)


def right_answers(folder: Path, data: Path) -> float:
    """Return the share of texts that transformers' pipeline gives their last word as the label."""
    classify, texts = pipeline("text-classification", model=str(folder)), texts_of(data)
    answers = [answer["label"] for answer in classify(texts, batch_size=4)]
    assert set(answers) <= set(NAMES)
    right = sum(text.endswith(answer) for text, answer in zip(texts, answers, strict=True))
    return right / len(texts)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "classes.jsonl")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bert(tmp_path_factory.mktemp("models") / "bert")


def test_a_full_classifier_answers_with_its_names_in_transformers_pipeline(
    tmp_path: Path, tiny: Path, classes: Path
) -> None:
    keys = {"tuner_type": "full", "learning_rate": 3e-3, "val_size": 6, "eval_steps": 12}
    saved, recorded = train(tmp_path / "run", tiny, classes, max_steps=30, **keys)
    evaluation = of_kind(recorded, "eval")[-1]
    assert evaluation["metrics"]["accuracy"] >= 0.8
    assert evaluation["metrics"]["macro_f1"] >= 0.6
    assert of_kind(recorded, "step")[-1]["metrics"]["accuracy"] >= 0.8
    assert right_answers(saved, classes) >= 0.8


def test_a_merged_adapter_keeps_its_head_and_the_names_of_its_outputs(
    tmp_path: Path, tiny: Path, classes: Path
) -> None:
    saved, _ = train(tmp_path / "run", tiny, classes, max_steps=30, learning_rate=1e-2)
    named = json.loads((saved / "classes.json").read_text("utf-8"))
    assert named["id2label"] == {"0": "bad", "1": "fine", "2": "good"}
    weights = load_file(saved / "adapter_model.safetensors")
    assert [name for name in weights if "score" in name] == ["base_model.model.score.weight"]
    config = MergeConfig(adapter=str(saved), model=str(tiny), hub="local", dtype="stored")
    (tmp_path / "merged").mkdir()
    merged = TASKS["merge"].run(config, tmp_path / "merged", lambda *_, **__: None)
    assert torch.equal(
        load_file(merged / "model.safetensors")["score.weight"],
        weights["base_model.model.score.weight"],
    )
    assert right_answers(merged, classes) >= 0.8


@pytest.mark.parametrize("tuner_type", ["lora", "full"])
def test_an_encoder_learns_to_classify(
    tuner_type: str, tmp_path: Path, bert: Path, classes: Path
) -> None:
    rate = 1e-2 if tuner_type == "lora" else 3e-3
    keys = {"tuner_type": tuner_type, "learning_rate": rate, "per_device_train_batch_size": 12}
    saved, recorded = train(tmp_path / "run", bert, classes, max_steps=30, **keys)
    losses = [step["loss"] for step in of_kind(recorded, "step")]
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    if tuner_type == "full":
        assert right_answers(saved, classes) >= 0.8


def test_the_losses_are_those_of_transformers_trainer(
    tmp_path: Path, tiny: Path, classes: Path
) -> None:
    start = tmp_path / "start"
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {}}
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(
        tiny, num_labels=3, pad_token_id=0, **names
    ).save_pretrained(start)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.save_pretrained(start)
    rows = [
        {**tokenizer(text), "label": NAMES.index(text.split()[-1])} for text in texts_of(classes)
    ]
    equal = {
        "max_steps": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "adam_beta2": 0.999,
        "per_device_train_batch_size": len(rows),  # both then learn the same rows per update
    }
    theirs = Trainer(
        AutoModelForSequenceClassification.from_pretrained(start),
        TrainingArguments(
            str(tmp_path / "theirs"), logging_steps=1, save_strategy="no", use_cpu=True, **equal
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    theirs.train()
    expected = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    keys = {**equal, "tuner_type": "full", "warmup_steps": 0}
    _, recorded = train(tmp_path / "ours", start, classes, **keys)
    losses = [step["loss"] for step in of_kind(recorded, "step")]
    # Joined rows and padded ones sum in another order, in float32; four updates carry it on.
    assert losses == pytest.approx(expected, rel=1e-3)


def test_a_resumed_classifier_has_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, tiny: Path, classes: Path
) -> None:
    keys = {"max_steps": 4, "save_steps": 2, "val_size": 6, "eval_steps": 2}
    saved, recorded = train(tmp_path / "run", tiny, classes, **keys)
    resumed = require_same_after_resume(saved, last=4, earlier=2)
    assert of_kind(resumed, "eval")[-1]["metrics"] == of_kind(recorded, "eval")[-1]["metrics"]


def test_a_regression_predicts_a_number(tmp_path: Path, tiny: Path, classes: Path) -> None:
    rows = [
        {"text": text, "label": NAMES.index(text.split()[-1]) - 1.0} for text in texts_of(classes)
    ]
    classes.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    keys = {"num_labels": 1, "val_size": 9, "eval_steps": 30, "learning_rate": 1e-2}
    saved, recorded = train(tmp_path / "run", tiny, classes, max_steps=30, **keys)
    evaluation = of_kind(recorded, "eval")[-1]
    assert evaluation["metrics"]["pearson"] > 0.5
    assert evaluation["metrics"]["mse"] == pytest.approx(evaluation["loss"], rel=1e-4)
    assert json.loads((saved / "classes.json").read_text("utf-8"))["problem_type"] == "regression"
