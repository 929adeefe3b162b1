"""AdaLoRA (arXiv:2303.10512): reduces the least important ranks during training."""

from __future__ import annotations

from typing import Any

import torch
from peft import AdaLoraConfig
from transformers import TrainerCallback

from swiftbox.config.tuners import TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import text

PLACEHOLDER_STEPS = 10**9
"""Total steps in peft's config until training starts, when the number is known."""


def adapter_config(_model: Any, config: TunerFields, common: dict[str, Any]) -> AdaLoraConfig:
    """Return peft's config; AdaLoraCallback sets the schedule when training starts."""
    return AdaLoraConfig(
        init_r=config.adalora_init_r,
        target_r=config.adalora_target_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        deltaT=config.adalora_deltaT,
        orth_reg_weight=config.adalora_orth_reg_weight,
        total_step=PLACEHOLDER_STEPS,
        **common,
    )


class AdaLoraCallback(TrainerCallback):
    """Sets AdaLoRA's schedule, adds its penalty, and reallocates ranks after every update."""

    def __init__(self, network: Any, config: TunerFields) -> None:
        self.tuner = network.base_model
        self.config = config

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Convert the schedule from fractions of the run to steps."""
        adapter = self.tuner.peft_config["default"]
        steps = state.max_steps
        adapter.total_step = steps
        adapter.tinit = _steps(self.config.adalora_tinit, steps)
        adapter.tfinal = _steps(self.config.adalora_tfinal, steps)
        if adapter.tinit >= steps - adapter.tfinal:
            raise ConfigError(
                text(
                    f"adalora_tinit and adalora_tfinal together cover all {steps} steps",
                    f"adalora_tinit 与 adalora_tfinal 占满了全部 {steps} 步",
                ),
                hint=text("lower them, or train longer", "减小它们，或增加训练步数"),
            )

    def on_pre_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Add the gradient of the penalty; the logged loss does not include it."""
        with torch.enable_grad():
            penalty = orthogonality(self.tuner)
        weight = self.config.adalora_orth_reg_weight
        factors = [factor for name, factor in self.tuner.named_parameters() if _is_factor(name)]
        gradients = torch.autograd.grad(penalty, factors)
        for parameter, gradient in zip(factors, gradients, strict=True):
            if parameter.grad is not None:
                parameter.grad += weight * gradient

    def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Score ranks by the gradients of this update, and reallocate them on schedule."""
        self.tuner.update_and_allocate(state.global_step + 1)


def orthogonality(tuner: Any) -> torch.Tensor:
    """Return the mean distance of the factors from orthogonality (eq. 4)."""
    distances = []
    for name, factor in tuner.named_parameters():
        if _is_factor(name):
            product = factor @ factor.T if "lora_A" in name else factor.T @ factor  # (R, R)
            identity = torch.eye(product.shape[0], device=product.device, dtype=product.dtype)
            distances.append(torch.linalg.matrix_norm(product - identity))
    return torch.stack(distances).mean()


def _is_factor(name: str) -> bool:
    return "lora_A" in name or "lora_B" in name


def _steps(fraction: float, steps: int) -> int:
    return round(fraction * steps) if fraction < 1 else int(fraction)
