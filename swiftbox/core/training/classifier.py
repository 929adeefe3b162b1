"""The outputs of a classifier: which there are, what the saved model calls them, how rows lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swiftbox.config.classification import ClassificationFields
from swiftbox.config.train import TrainConfig
from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.layouts import choose_layout
from swiftbox.core.losses.classification import reads_last_token
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.data.classes import CLASSES_FILE, ClassTable, LabelRules
from swiftbox.files import write_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit


@dataclass(frozen=True)
class HeadChoice:
    """The head to load: language or score, with the classes of a classifier."""

    kind: str
    classes: ClassTable | None = None


def classes_of(config: TrainConfig, labels: Mapping[str, int]) -> ClassTable | None:
    """Return the outputs of a classifier from its rows' labels; None for other methods.

    Raises DataError if the labels do not make a classifier.
    """
    if not isinstance(config, ClassificationFields):
        return None
    return LabelRules.of(config).table(labels)


def name_padding(model: Any, tokenizer: Any) -> None:
    """Write into the config of a model with a score head which token is padding.

    transformers finds the last token of a row by it; it must be what the tokenizer pads with.
    """
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    padding = tokenizer.pad_token_id
    if padding is not None:
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = padding


def head_arguments(inputs: TrainerInputs) -> dict[str, Any]:
    """Return what the collating of rows for a score head depends on; nothing for other heads."""
    if inputs.method.head != "score":
        return {}
    padding = {"padding": inputs.network.config.pad_token_id}
    return padding if inputs.classes is None else {**padding, "classes": inputs.classes}


def write_head(model: Any, classes: ClassTable | None, folder: Path) -> None:
    """Write what the outputs mean beside an adapter, and the padding that its head needs."""
    meaning = {} if classes is None else classes.settings()
    settings = {**meaning, "pad_token_id": model.config.pad_token_id}
    write_json(folder / CLASSES_FILE, settings)


def layout_of(
    inputs: TrainerInputs, emit: Emit, *, device: torch.device | None, shares: str
) -> str:
    """Choose the layout of batches; the rows of an encoder are padded."""
    if inputs.classes is None or reads_last_token(inputs.network):
        return choose_layout(inputs.config, inputs.network, emit, device=device, shares=shares)
    message = text("an encoder reads each row alone: rows are padded", "编码器逐行读取：采用填充")
    emit(events.NOTE, key="padding_free", message=message)
    return PADDED
