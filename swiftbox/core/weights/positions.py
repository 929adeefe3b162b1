"""Whether the rows of a training fit the positions that a loaded model has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftbox.architectures.positions import require_positions
from swiftbox.config.train import TrainConfig
from swiftbox.files import read_json


def require_learned_positions(model: Any, folder: Path, config: TrainConfig) -> None:
    """Raise ConfigError if rows may have more than the learned positions of a folder's model."""
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    settings = read_json(folder / "config.json")
    require_positions(settings, shapes, config.max_length, config.answer_length)
