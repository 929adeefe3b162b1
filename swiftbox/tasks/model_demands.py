"""What the settings of a training demand of a model on this machine: its family, its positions."""

from __future__ import annotations

from swiftbox.architectures.positions import require_positions
from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.inspection import Inspection


def require_learned_positions(config: TrainConfig, inspection: Inspection) -> None:
    """Raise ConfigError if rows of this training may have more than the learned positions."""
    tensors = inspection.weights.tensors.items()
    shapes = {name: shape for name, (_dtype, shape) in tensors}
    require_positions(inspection.config, shapes, config.max_length, config.answer_length)


def require_family(config: TrainConfig, inspection: Inspection) -> None:
    """Raise ConfigError if the model is of another family than the one that is named."""
    family = inspection.config.get("model_type")
    if config.model_type and family and config.model_type not in (family, family.split("_")[0]):
        series = family.rstrip("0123456789_.")
        if not series.startswith(config.model_type):
            raise ConfigError(
                text(
                    f"model_type: {config.model_type} requested, but config.json has {family}",
                    f"model_type：要求 {config.model_type}，但 config.json 为 {family}",
                ),
                hint=text(
                    "remove model_type, or choose a model of that family",
                    "去掉 model_type 或更换模型",
                ),
            )
