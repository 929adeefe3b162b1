"""Optimizers that know a tuner: LoRA+ (arXiv:2402.12354), LoRA-FA (2308.03303), GaLore."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from transformers import Trainer, TrainingArguments

from swiftbox.config.train import TrainConfig
from swiftbox.core.training.galore import GaLoreAdamW

Make = Callable[[Any, TrainingArguments], Any]
"""Make the optimizer of a network."""

OURS = {"lora_fa": "adamw_torch", "galore_adamw": "adamw_torch"}
"""Optimizers made here, and the one that TrainingArguments is told of instead."""


def optimizer_of(config: TrainConfig) -> Make | None:
    """Return what makes the optimizer; None where transformers makes it."""
    if config.optim == "lora_fa":
        return lora_fa
    if config.optim == "galore_adamw":
        return partial(galore, config=config)
    if config.lora_plus_lr_ratio is not None and config.tuner_type in ("lora", "qlora"):
        return partial(lora_plus, ratio=config.lora_plus_lr_ratio)
    return None


def lora_plus(network: Any, arguments: TrainingArguments, *, ratio: float) -> Any:
    """Give the B matrices `ratio` times the learning rate."""
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments, network)
    rate = settings.pop("lr")
    return create_loraplus_optimizer(
        network,
        kind,
        lr=rate,
        loraplus_lr_ratio=ratio,
        loraplus_lr_embedding=rate,
        loraplus_weight_decay=arguments.weight_decay,
        **settings,
    )


def lora_fa(network: Any, arguments: TrainingArguments) -> Any:
    """Freeze the A matrices; the B matrices follow the best step that they allow."""
    own = network.peft_config["default"]
    return create_lorafa_optimizer(
        network,
        r=own.r,
        lora_alpha=own.lora_alpha,
        lr=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
    )


def galore(network: Any, arguments: TrainingArguments, *, config: TrainConfig) -> Any:
    """Project the matrices of the blocks; embeddings, head and norms get plain AdamW."""
    inside = {
        id(module.weight)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part.isdigit() for part in name.split("."))
    }
    trained = [one for one in network.parameters() if one.requires_grad]
    low = [one for one in trained if id(one) in inside]
    rest = [one for one in trained if id(one) not in inside]
    groups = [
        {
            "params": low,
            "weight_decay": arguments.weight_decay,
            "rank": config.galore_rank,
            "update_proj_gap": config.galore_update_proj_gap,
            "scale": config.galore_scale,
        },
        {
            "params": [one for one in rest if one.ndim > 1],
            "weight_decay": arguments.weight_decay,
        },
        {"params": [one for one in rest if one.ndim == 1]},
    ]
    return GaLoreAdamW(
        [group for group in groups if group["params"]],
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
    )
