"""What a trainer is made of, on its way from the settings to the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from swiftbox.config.train import TrainConfig


@dataclass(frozen=True)
class Made:
    """The settings and what was loaded by them."""

    config: TrainConfig
    method: Any
    """methods.method.Method, which the core does not import."""
    network: Any
    tokenizer: Any
    arguments: TrainingArguments
    folders: tuple[Path, Path | None]
    """Of the model and of the adapter that training starts from."""
