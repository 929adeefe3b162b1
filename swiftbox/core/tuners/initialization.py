"""LoRA initializations computed from data (EVA, LoRA-GA), and saving those that change the base.

PiSSA (arXiv:2404.02948), OLoRA (arXiv:2406.01775) and LoRA-GA (arXiv:2407.05000) subtract the
initial adapter B0 A0 from the base weights. On the original base the learned update is then
B A - B0 A0, an adapter of twice the rank. EVA (arXiv:2410.07170) does not change the base.
Shapes: L lines, T tokens, H hidden, R rank.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import initialize_lora_eva_weights
from peft.tuners.lora.loraga import preprocess_loraga
from safetensors.torch import load_file, save_file

from swiftbox.config.tuners import CHANGED_BASE
from swiftbox.core.data.batches import to_device
from swiftbox.core.data.samples import IGNORED
from swiftbox.errors import ConfigError
from swiftbox.language import text

CALIBRATION_ROWS = 64
"""Rows used for calibration; the estimates of the papers converge with fewer."""

MAX_PASSES = 300
"""Forward passes within which EVA's components converge unless the rank is too high."""


@dataclass(frozen=True)
class CalibrationBatches:
    """A few training batches, and the loss of the method."""

    batches: Sequence[dict[str, Any]]
    loss: Callable[[Any, dict[str, Any]], Any]
    """Returns core.losses.terms.LossTerms."""

    @staticmethod
    def of(
        units: Sequence[Any],
        collate: Callable[[Sequence[Any]], dict[str, Any]],
        loss: Callable[[Any, dict[str, Any]], Any],
        size: int,
    ) -> CalibrationBatches:
        """Collate the first units into batches of `size`."""
        first = units[: max(CALIBRATION_ROWS, size)]
        batches = [collate(first[at : at + size]) for at in range(0, len(first), size)]
        return CalibrationBatches(batches, loss)


def changes_base(config: Any) -> bool:
    """Whether the base differs from the original model when the adapter is disabled.

    True if all weights are trained, or if the initialization of a new adapter changes the base. A
    continued adapter was saved for the original base.
    """
    if config.tuner_type in ("full", "llamapro"):
        return True
    return (
        config.tuner_type == "lora"
        and getattr(config, "adapter", None) is None
        and config.init_lora_weights.startswith(CHANGED_BASE)
    )


def needs_calibration(config: Any) -> bool:
    """Whether the adapter's initialization is computed from training rows."""
    return (
        config.tuner_type in ("lora", "qlora")
        and getattr(config, "adapter", None) is None
        and config.init_lora_weights in ("eva", "lora_ga")
    )


def require_calibration(calibration: CalibrationBatches | None, init: str) -> CalibrationBatches:
    """Return the batches; without them LoRA-GA would silently be plain LoRA."""
    if calibration is None or not calibration.batches:
        raise ConfigError(
            text(
                f"init_lora_weights: {init} needs training rows",
                f"init_lora_weights：{init} 需要训练数据",
            ),
            hint=text("set init_lora_weights: true", "设 init_lora_weights: true"),
        )
    return calibration


def estimate_gradients(model: Any, adapter: Any, calibration: CalibrationBatches) -> None:
    """Store on every target layer the gradient that LoRA-GA initializes from."""
    device = model.get_input_embeddings().weight.device

    def backward() -> None:
        for batch in calibration.batches:
            terms = calibration.loss(model, to_device(batch, device))
            (terms.total / terms.count).backward()

    preprocess_loraga(model, adapter, backward)


def drop_gradients(network: Any) -> None:
    """Free the gradients that estimate_gradients has stored on the layers."""
    for module in network.modules():
        if hasattr(module, "_peft_loraga_grad"):
            del module._peft_loraga_grad


def initialize_eva(network: Any, calibration: CalibrationBatches) -> None:
    """Set the A matrices to the principal components of the inputs of their layers."""
    adapter = network.peft_config["default"]
    components = math.ceil(adapter.r * adapter.eva_config.rho)
    device = network.get_input_embeddings().weight.device
    batches = [to_device(batch, device) for batch in calibration.batches]
    passes = iter(range(MAX_PASSES))

    def forward(model: Any, inputs: dict[str, Any]) -> None:
        if next(passes, None) is None:
            raise ConfigError(
                text("init_lora_weights: eva does not converge", "init_lora_weights：eva 不收敛"),
                hint=text("lower lora_rank", "减小 lora_rank"),
            )
        model(**_inputs(inputs), use_cache=False)

    initialize_lora_eva_weights(
        network,
        _masked_batches(batches, components),
        forward_fn=forward,
        prepare_model_inputs_fn=lambda inputs, _: inputs["mask"],
        prepare_layer_inputs_fn=lambda hidden, mask, _: hidden[0][mask],  # (M, H)
        gather_distributed_inputs=False,
        show_progress_bar=False,
    )


def _masked_batches(batches: Sequence[dict[str, Any]], components: int) -> list[dict[str, Any]]:
    """Return the batches with at least `components` tokens, each with the mask of its tokens.

    Only answers count, or prompts too if a batch has fewer answer tokens than components.
    """
    masks = [_learned(batch) for batch in batches]
    if min(int(mask.sum()) for mask in masks) < components:
        masks = [torch.ones_like(mask) for mask in masks]
    usable = [
        {**_inputs(batch), "mask": mask}
        for batch, mask in zip(batches, masks, strict=True)
        if int(mask.sum()) >= components
    ]
    if usable:
        return usable
    raise ConfigError(
        text(
            f"init_lora_weights: eva needs batches of at least {components} tokens",
            f"init_lora_weights：eva 要求每批至少 {components} 个 token",
        ),
        hint=text(
            "raise per_device_train_batch_size, or lower lora_rank",
            "增大 per_device_train_batch_size，或减小 lora_rank",
        ),
    )


def _inputs(batch: dict[str, Any]) -> dict[str, Any]:
    return {
        key: batch[key] for key in ("input_ids", "position_ids", "attention_mask") if key in batch
    }


def _learned(batch: dict[str, Any]) -> torch.Tensor:
    """Mark the tokens whose layer inputs are used.  # (L, T) bool"""
    if "labels" in batch and batch["labels"].shape == batch["input_ids"].shape:
        return batch["labels"] != IGNORED
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    return torch.ones_like(batch["input_ids"], dtype=torch.bool)


def remember_initial_values(network: Any) -> None:
    """Keep the initial values of the adapter; rebase_on_original needs them."""
    network.initial_values = {
        name.replace(".default.", "."): parameter.detach().cpu().clone()
        for name, parameter in network.named_parameters()
        if ".lora_A.default." in name or ".lora_B.default." in name
    }


def rebase_on_original(network: Any, folder: Path) -> None:
    """Rewrite a saved adapter so that it applies to the original base.

    B A - B0 A0 = [B, -B0] [A; A0]: twice the rank, and twice alpha to keep the scale (with
    rsLoRA, sqrt 2 times alpha). Adapters that do not change the base are left as saved.
    """
    first = getattr(network, "initial_values", None)
    if first is None or not (folder / "adapter_config.json").is_file():
        return
    weights = load_file(folder / "adapter_model.safetensors")
    for name, values in first.items():
        trained = weights[name]
        initial = values.to(trained.dtype)
        if ".lora_A." in name:
            weights[name] = torch.cat([trained, initial], dim=0).contiguous()  # (2R, H)
        else:
            weights[name] = torch.cat([trained, -initial], dim=1).contiguous()  # (H, 2R)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    factor = math.sqrt(2) if settings.get("use_rslora") else 2
    ranks, alphas = settings["rank_pattern"] or {}, settings["alpha_pattern"] or {}
    settings["r"] = 2 * settings["r"]
    settings["lora_alpha"] = factor * settings["lora_alpha"]
    settings["rank_pattern"] = {pattern: 2 * rank for pattern, rank in ranks.items()}
    settings["alpha_pattern"] = {pattern: factor * alpha for pattern, alpha in alphas.items()}
    settings["init_lora_weights"] = True
    settings["lora_ga_config"] = None
    path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
