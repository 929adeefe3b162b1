"""What a training starts from: local files, then the loaded model with its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from swiftbox.config.train import TrainConfig
from swiftbox.data.classes import ClassTable
from swiftbox.data.source import RowSource


@dataclass(frozen=True)
class LocalInputs:
    """The local files of a training."""

    model: Path
    adapter: Path | None
    """The adapter that training continues from."""
    sources: Sequence[RowSource]
    data_hash: str
    """dataset_hash(sources): computed once for the record of the run and for the token cache."""
    validation: Sequence[RowSource] = ()
    """The rows to measure the loss on, if they are held out by name."""
    teacher: Path | None = None
    """The model whose distributions a distillation learns."""


@dataclass(frozen=True)
class TrainerInputs:
    """The settings of a training and everything that was loaded according to them."""

    config: TrainConfig
    method: Any
    """A methods.method.Method, which core does not import."""
    network: Any
    tokenizer: Any
    arguments: TrainingArguments
    model_folder: Path
    adapter_folder: Path | None
    """The adapter that training continues from."""
    classes: ClassTable | None = None
    """The outputs of a classifier."""
    teacher_folder: Path | None = None
