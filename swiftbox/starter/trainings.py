"""The two trainings of the demo: a short pretraining of every weight, then LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.language import text

COMMON_SETTINGS: Mapping[str, Any] = {
    "hub": "local",
    "dtype": "float32",
    "gradient_accumulation_steps": 1,
    "save_steps": 100,
    "save_total_limit": 1,
    "logging_steps": 1,
}

PRETRAIN, LORA = "pretrain", "lora"


@dataclass(frozen=True)
class DemoTraining:
    """One training of the demo: the name of its run, its YAML file, its purpose, its settings."""

    name: str
    file: str
    purpose: str
    settings: Mapping[str, Any]


def demo_trainings(folder: Path) -> tuple[DemoTraining, DemoTraining]:
    """Return the trainings of a demo in a folder."""
    return _pretraining(folder), _lora(folder)


def _pretraining(folder: Path) -> DemoTraining:
    purpose = text(
        "A short pretraining of every weight on raw text.", "在纯文本上短暂预训练全部参数。"
    )
    settings = {
        **COMMON_SETTINGS,
        "stage": "pt",
        "model": str(folder / "model"),
        "tuner_type": "full",
        "dataset": str(folder / "data" / "pretrain.jsonl"),
        "max_length": 256,
        "packing": True,
        "per_device_train_batch_size": 8,
        "learning_rate": 3.0e-3,
        "max_steps": 100,
    }
    return DemoTraining(PRETRAIN, "1-pretrain.yaml", purpose, settings)


def _lora(folder: Path) -> DemoTraining:
    purpose = text(
        "LoRA on conversations: the model learns its name.",
        "在对话上训练 LoRA：模型学会自己的名字。",
    )
    settings = {
        **COMMON_SETTINGS,
        "stage": "sft",
        "model": str(folder / "runs" / PRETRAIN / "model"),
        "tuner_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "target_modules": "all-linear",
        "dataset": str(folder / "data" / "chat.jsonl"),
        "max_length": 256,
        "per_device_train_batch_size": 32,
        "learning_rate": 5.0e-3,
        "max_steps": 80,
    }
    return DemoTraining(LORA, "2-lora.yaml", purpose, settings)
