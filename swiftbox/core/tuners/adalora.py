"""AdaLoRA (arXiv:2303.10512): ranks are cut where they matter least while training goes on."""

from __future__ import annotations

from typing import Any

import torch
from peft import AdaLoraConfig
from transformers import TrainerCallback

from swiftbox.config.tuners import TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import text

UNKNOWN_YET = 10**9
"""Steps of the run, until training begins and knows them."""


def adapter_config(_model: Any, config: TunerFields, common: dict[str, Any]) -> AdaLoraConfig:
    """Return peft's config; the schedule is set when the number of steps is known."""
    return AdaLoraConfig(
        init_r=config.adalora_init_r,
        target_r=config.adalora_target_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        deltaT=config.adalora_deltaT,
        orth_reg_weight=config.adalora_orth_reg_weight,
        total_step=UNKNOWN_YET,
        **common,
    )


class Ranks(TrainerCallback):
    """Sets AdaLoRA's schedule, adds its penalty, and cuts ranks after every update."""

    def __init__(self, network: Any, config: TunerFields) -> None:
        self.tuner = network.base_model
        self.config = config

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Turn shares of the run into steps."""
        own = self.tuner.peft_config["default"]
        steps = state.max_steps
        own.total_step = steps
        own.tinit = _steps(self.config.adalora_tinit, steps)
        own.tfinal = _steps(self.config.adalora_tfinal, steps)
        if own.tinit >= steps - own.tfinal:
            raise ConfigError(
                text(
                    f"adalora_tinit and adalora_tfinal leave nothing of {steps} steps",
                    f"adalora_tinit 与 adalora_tfinal 占满了全部 {steps} 步",
                ),
                hint=text("lower them, or train longer", "减小它们，或增加训练步数"),
            )

    def on_pre_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Add the gradient of the penalty, which is no part of the loss that is logged."""
        with torch.enable_grad():
            penalty = orthogonality(self.tuner)
        weight = self.config.adalora_orth_reg_weight
        named = [one for name, one in self.tuner.named_parameters() if _is_factor(name)]
        for parameter, gradient in zip(named, torch.autograd.grad(penalty, named), strict=True):
            if parameter.grad is not None:
                parameter.grad += weight * gradient

    def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Judge every rank by the gradients of this update, and cut where it is time."""
        self.tuner.update_and_allocate(state.global_step + 1)


def orthogonality(tuner: Any) -> torch.Tensor:
    """Return the mean distance of the factors' products from the identity (eq. 4)."""
    distances = []
    for name, factor in tuner.named_parameters():
        if _is_factor(name):
            product = factor @ factor.T if "lora_A" in name else factor.T @ factor  # (R, R)
            identity = torch.eye(product.shape[0], device=product.device, dtype=product.dtype)
            distances.append(torch.linalg.matrix_norm(product - identity))
    return torch.stack(distances).mean()


def _is_factor(name: str) -> bool:
    return "lora_A" in name or "lora_B" in name


def _steps(share: float, steps: int) -> int:
    return round(share * steps) if share < 1 else int(share)
