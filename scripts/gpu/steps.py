"""Single training steps of a random model, through our collators and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from gpu.models import random_model
from gpu.settings import Settings


def token_rows(lengths: Sequence[int], *, seed: int = 0) -> list[Any]:
    """Return rows of random tokens, all of them learned."""
    from swiftbox.core.data.samples import TokenRow

    chooser = np.random.default_rng(seed)
    tokens = [chooser.integers(5, 500, length).astype(np.int32) for length in lengths]
    return [TokenRow(row, row) for row in tokens]


class Steps:
    """A random model with LoRA, or all weights trained, and our loss of supervised tuning."""

    def __init__(
        self,
        size: str,
        settings: Settings,
        *,
        checkpointing: bool = False,
    ) -> None:
        from swiftbox.core.losses.log_prob_reader import reader_for
        from swiftbox.core.losses.terms import LossContext
        from swiftbox.methods import METHODS

        self.settings = settings
        self.dtype = getattr(torch, settings.dtype)
        plain = random_model(size, settings)
        self.reader = reader_for(plain, self.dtype)
        self.model = with_lora(plain, checkpointing=checkpointing)
        self.method = METHODS["sft"]
        self.loss = partial(self.method.loss, context=LossContext(None, self.reader))

    def batch(self, lengths: Sequence[int], layout: str) -> Mapping[str, Any]:
        """Return rows of these lengths as one batch on the device."""
        batch = self.method.collate([[row] for row in token_rows(lengths)], layout=layout)
        return {key: self.moved(value) for key, value in batch.items()}

    def moved(self, value: Any) -> Any:
        """Return a tensor on the device; anything else as it is."""
        return value.to(self.settings.device) if isinstance(value, torch.Tensor) else value

    def forward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the mean loss under autocast, as the trainer computes it."""
        with torch.autocast(self.settings.device, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.loss(self.model, batch)
        mean: torch.Tensor = terms.total / terms.count
        return mean

    def step(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Run forward and backward; return the loss, not read from the device."""
        loss = self.forward(batch)
        loss.backward()
        return loss.detach()

    def gradient(self) -> torch.Tensor:
        """Return the gradient of the first trained weight."""
        weight = next(weight for weight in self.model.parameters() if weight.grad is not None)
        assert weight.grad is not None
        return weight.grad.float().clone()


def with_lora(model: Any, *, checkpointing: bool) -> Any:
    """Attach LoRA as a training does."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(
        r=16, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    trained = get_peft_model(model, settings)
    for weight in trained.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    if checkpointing:
        trained.enable_input_require_grads()
        trained.gradient_checkpointing_enable({"use_reentrant": False})
    return trained.train()
