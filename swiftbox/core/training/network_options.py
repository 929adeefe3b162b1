"""Place a network, and apply the settings that save memory or time."""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.training.activation_checkpoints import checkpoint_activations
from swiftbox.core.training.activation_offload import Loss, offload_of, offloading
from swiftbox.core.training.compiled_blocks import compile_callbacks
from swiftbox.core.training.liger import use_liger_kernels
from swiftbox.core.training.parallel import is_sharded
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.core.tuners.attach import tuner_callbacks
from swiftbox.core.tuners.fused_lora import fuse_adapters
from swiftbox.runs.events import Emit


def prepare_network(network: Any, config: TrainConfig, device: torch.device, emit: Emit) -> None:
    """Move the adapter to the device of its base, and change the network as its config says.

    Sharding strategies place their weights themselves. TrainingArguments carry plain checkpointing.
    """
    if not is_sharded(config):
        network.to(device)
        fuse_adapters(network)  # with sharded weights, each layer's own call gathers its part
    if config.use_liger_kernel:
        use_liger_kernels(network, getattr(torch, config.dtype), emit)
    if config.gradient_checkpointing == "selective":
        checkpoint_activations(network, "selective")


def loss_of(inputs: TrainerInputs, loss: Loss) -> Loss:
    """Return the loss, whose activations are in main memory until its backward pass if wanted."""
    if not inputs.config.activation_offload:
        return loss
    return offloading(loss, offload_of(inputs.network, inputs.arguments.device))


def training_callbacks(inputs: TrainerInputs, emit: Emit) -> list[Any]:
    """Return the callbacks that the tuner and the settings need during training."""
    callbacks = tuner_callbacks(inputs.network, inputs.config)
    if inputs.config.torch_compile:
        callbacks += compile_callbacks(inputs.network, emit)
    return callbacks
