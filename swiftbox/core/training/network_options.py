"""Apply the settings that save memory or time to a network that is on its device."""

from __future__ import annotations

from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.core.training.activation_checkpoints import checkpoint_activations


def apply_options(network: Any, config: TrainConfig) -> None:
    """Change the network as its config says; TrainingArguments carry plain checkpointing."""
    if config.gradient_checkpointing == "selective":
        checkpoint_activations(network, "selective")
