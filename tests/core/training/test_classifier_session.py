"""Trainings of classifiers, whole: from a file of labelled texts to a model that loads again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from recorded_training import Recorded, of_kind, train_config
from safetensors.torch import load_file
from tiny import write_config
from transformers import AutoModelForSequenceClassification, pipeline

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = (json.__doc__ or "").split()
NAMES = ("bad", "fine", "good")


def write_classes(path: Path, count: int = 36) -> Path:
    """Write texts whose first word is their label, every third with each."""
    chooser = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            name = NAMES[number % 3]
            rest = [chooser.choice(WORDS) for _ in range(chooser.randint(1, 9))]
            file.write(json.dumps({"text": " ".join([*rest, name]), "label": name}) + "\n")
    return path


def train(folder: Path, model: Path, data: Path, **keys: Any) -> tuple[Path, Recorded]:
    folder.mkdir(parents=True)
    usual = {"stage": "classification", "max_steps": 12, "save_steps": 0, "learning_rate": 2e-2}
    usual |= {"per_device_train_batch_size": 6}
    return train_config(write_config(folder / "a.yaml", model, data, **{**usual, **keys}), folder)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "classes.jsonl")


def test_a_full_classifier_answers_with_its_names_in_transformers_pipeline(
    tmp_path: Path, tiny: Path, classes: Path
) -> None:
    keys = {"tuner_type": "full", "learning_rate": 3e-3, "val_size": 6, "eval_steps": 12}
    saved, recorded = train(tmp_path / "run", tiny, classes, max_steps=30, **keys)
    evaluation = of_kind(recorded, "eval")[-1]
    assert evaluation["metrics"]["accuracy"] >= 0.8
    assert evaluation["metrics"]["macro_f1"] >= 0.6
    assert of_kind(recorded, "step")[-1]["metrics"]["accuracy"] >= 0.8
    classify = pipeline("text-classification", model=str(saved))
    texts = [json.loads(line)["text"] for line in classes.read_text("utf-8").splitlines()]
    answers = [answer["label"] for answer in classify(texts, batch_size=4)]
    right = sum(text.endswith(answer) for text, answer in zip(texts, answers, strict=True))
    assert right >= 0.8 * len(texts)


def test_an_adapter_holds_its_head_and_the_names_of_its_outputs(
    tmp_path: Path, tiny: Path, classes: Path
) -> None:
    saved, recorded = train(tmp_path / "run", tiny, classes)
    losses = [step["loss"] for step in of_kind(recorded, "step")]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert json.loads((saved / "classes.json").read_text("utf-8"))["id2label"] == {
        "0": "bad",
        "1": "fine",
        "2": "good",
    }
    heads = [name for name in load_file(saved / "adapter_model.safetensors") if "score" in name]
    assert heads == ["base_model.model.score.weight"]
    base_model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=3)
    tuned = PeftModel.from_pretrained(base_model, saved)
    assert torch.isfinite(tuned(input_ids=torch.tensor([[1, 2, 3]])).logits).all()
