"""Optimizers of ours: LoRA+ (arXiv:2402.12354), LoRA-FA (arXiv:2308.03303), GaLore, rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from transformers import Trainer, TrainingArguments

from swiftbox.config.train import TrainConfig
from swiftbox.core.training.galore import GaLoreAdamW
from swiftbox.core.training.rounding_adamw import RoundingAdamW, RoundingOptions

OptimizerFactory = Callable[[Any, TrainingArguments], Any]
"""Creates the optimizer of a network."""

SUBSTITUTES = {"lora_fa": "adamw_torch", "galore_adamw": "adamw_torch"}
"""Optimizers created here, and the name passed to TrainingArguments instead."""


LORA_FA_EPSILON = 1e-6
"""peft's, larger than Adam's: the corrected gradients are small."""


def optimizer_of(config: TrainConfig) -> OptimizerFactory | None:
    """Return the factory of the optimizer; None if transformers creates it."""
    if config.optim == "lora_fa":
        return partial(lora_fa, epsilon=config.adam_epsilon)
    if config.optim == "galore_adamw":
        return partial(galore, config=config)
    if config.keeps_bfloat16_weights:
        return partial(rounding, name=config.optim)
    if config.lora_plus_lr_ratio is not None and config.tuner_type in ("lora", "qlora"):
        return partial(lora_plus, ratio=config.lora_plus_lr_ratio)
    return None


def lora_plus(network: Any, arguments: TrainingArguments, *, ratio: float) -> Any:
    """Create an optimizer whose B matrices have `ratio` times the learning rate."""
    optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(arguments, network)
    rate = settings.pop("lr")
    return create_loraplus_optimizer(
        network,
        optimizer_class,
        lr=rate,
        loraplus_lr_ratio=ratio,
        loraplus_lr_embedding=rate,
        loraplus_weight_decay=arguments.weight_decay,
        **settings,
    )


def lora_fa(network: Any, arguments: TrainingArguments, *, epsilon: float | None = None) -> Any:
    """Create LoRA-FA: A matrices are frozen, gradients of B are corrected for A."""
    adapter = network.peft_config["default"]
    optimizer = create_lorafa_optimizer(
        network,
        r=adapter.r,
        lora_alpha=adapter.lora_alpha,
        lr=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
    )
    for group in optimizer.param_groups:  # peft's function takes neither
        group["betas"] = (arguments.adam_beta1, arguments.adam_beta2)
        group["eps"] = LORA_FA_EPSILON if epsilon is None else epsilon
    return optimizer


def galore(network: Any, arguments: TrainingArguments, *, config: TrainConfig) -> Any:
    """Create GaLore for the matrices of the blocks; all other weights get plain AdamW."""
    block_matrices = {
        id(module.weight)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part.isdigit() for part in name.split("."))
    }
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    projected = [weight for weight in trained if id(weight) in block_matrices]
    rest = [weight for weight in trained if id(weight) not in block_matrices]
    groups = [
        {
            "params": projected,
            "weight_decay": arguments.weight_decay,
            "rank": config.galore_rank,
            "update_proj_gap": config.galore_update_proj_gap,
            "scale": config.galore_scale,
        },
        {
            "params": [weight for weight in rest if weight.ndim > 1],
            "weight_decay": arguments.weight_decay,
        },
        {"params": [weight for weight in rest if weight.ndim == 1]},
    ]
    return GaLoreAdamW(
        [group for group in groups if group["params"]],
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
    )


def rounding(network: Any, arguments: TrainingArguments, *, name: str) -> Any:
    """Create AdamW with stochastic rounding for weights in bfloat16; vectors do not decay."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {
            "params": [weight for weight in trained if weight.ndim > 1],
            "weight_decay": arguments.weight_decay,
        },
        {"params": [weight for weight in trained if weight.ndim <= 1]},
    ]
    options = RoundingOptions(
        arguments.seed, states_8_bit=name.endswith("adamw_8bit"), fused=name == "adamw_torch_fused"
    )
    return RoundingAdamW(
        [group for group in groups if group["params"]],
        options,
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
    )
