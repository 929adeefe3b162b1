"""First values of LoRA that need the data (EVA, LoRA-GA), and saving those that move the base.

PiSSA (arXiv:2404.02948), OLoRA (2406.01775) and LoRA-GA (2407.05000) take what the adapter holds
at first out of the base weights. What is learned is then B A - B0 A0 on the original base, which
is an adapter of twice the rank. EVA (2410.07170) leaves the base alone.
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

from swiftbox.core.data.samples import IGNORED
from swiftbox.errors import ConfigError
from swiftbox.language import text

SAMPLE_ROWS = 64
"""Rows that are looked at; the papers' estimates settle with fewer."""

PASSES_AT_MOST = 300
"""Forward passes after which EVA's components should long have settled."""


@dataclass(frozen=True)
class Sample:
    """Some training batches, and the loss that a method makes of them."""

    batches: Sequence[dict[str, Any]]
    loss: Callable[[Any, dict[str, Any]], Any]
    """Gives core.terms.Terms."""

    @staticmethod
    def of(
        units: Sequence[Any],
        collate: Callable[[Sequence[Any]], dict[str, Any]],
        loss: Callable[[Any, dict[str, Any]], Any],
        size: int,
    ) -> Sample:
        """Take the first units, `size` of them to a batch."""
        few = units[: max(SAMPLE_ROWS, size)]
        batches = [collate(few[at : at + size]) for at in range(0, len(few), size)]
        return Sample(batches, loss)


def changes_base(config: Any) -> bool:
    """Tell whether switching the adapter off does not give the original model.

    So it is where the whole model is trained, and where a new adapter's first values were taken
    out of the base. An adapter that goes on was saved for the original base.
    """
    if config.tuner_type in ("full", "llamapro"):
        return True
    return (
        config.tuner_type == "lora"
        and getattr(config, "adapter", None) is None
        and config.init_lora_weights.startswith(("pissa", "olora", "lora_ga"))
    )


def needs_sample(config: Any) -> bool:
    """Tell whether the first values are made from training rows."""
    return (
        config.tuner_type in ("lora", "qlora")
        and getattr(config, "adapter", None) is None
        and config.init_lora_weights in ("eva", "lora_ga")
    )


def require_sample(sample: Sample | None, init: str) -> Sample:
    """Return the sample; without it LoRA-GA would silently be plain LoRA."""
    if sample is None or not sample.batches:
        raise ConfigError(
            text(
                f"init_lora_weights: {init} needs training rows",
                f"init_lora_weights：{init} 需要训练数据",
            ),
            hint=text("set init_lora_weights: true", "设 init_lora_weights: true"),
        )
    return sample


def estimate_gradients(model: Any, adapter: Any, sample: Sample) -> None:
    """Leave on every target layer the gradient of the loss that LoRA-GA begins with."""
    device = model.get_input_embeddings().weight.device

    def steps() -> None:
        for batch in sample.batches:
            terms = sample.loss(model, _on(device, batch))
            (terms.total / terms.count).backward()

    preprocess_loraga(model, adapter, steps)


def drop_gradients(network: Any) -> None:
    """Free what estimate_gradients has left on the layers."""
    for module in network.modules():
        if hasattr(module, "_peft_loraga_grad"):
            del module._peft_loraga_grad


def begin_with_eva(network: Any, sample: Sample) -> None:
    """Set the A matrices to the principal directions of what the layers are fed."""
    own = network.peft_config["default"]
    wanted = math.ceil(own.r * own.eva_config.rho)
    device = network.get_input_embeddings().weight.device
    batches = [_on(device, batch) for batch in sample.batches]
    masks = [_learned(batch) for batch in batches]
    if min(int(mask.sum()) for mask in masks) < wanted:  # too few answers: take prompts, too
        masks = [torch.ones_like(mask) for mask in masks]
    usable = [
        {**_inputs(batch), "mask": mask}
        for batch, mask in zip(batches, masks, strict=True)
        if int(mask.sum()) >= wanted
    ]
    if not usable:
        raise ConfigError(
            text(
                f"init_lora_weights: eva needs batches of {wanted} tokens or more",
                f"init_lora_weights：eva 要求每批至少 {wanted} 个 token",
            ),
            hint=text(
                "raise per_device_train_batch_size, or lower lora_rank",
                "增大 per_device_train_batch_size，或减小 lora_rank",
            ),
        )
    passes = iter(range(PASSES_AT_MOST))

    def forward(model: Any, inputs: dict[str, Any]) -> None:
        if next(passes, None) is None:
            raise ConfigError(
                text("init_lora_weights: eva does not settle", "init_lora_weights：eva 不收敛"),
                hint=text("lower lora_rank", "减小 lora_rank"),
            )
        model(**_inputs(inputs), use_cache=False)

    initialize_lora_eva_weights(
        network,
        usable,
        forward_fn=forward,
        prepare_model_inputs_fn=lambda inputs, _: inputs["mask"],
        prepare_layer_inputs_fn=lambda hidden, mask, _: hidden[0][mask],  # (M, H)
        gather_distributed_inputs=False,
        show_progress_bar=False,
    )


def _on(device: Any, batch: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _on(device, value) if isinstance(value, dict) else value.to(device)
        for key, value in batch.items()
    }


def _inputs(batch: dict[str, Any]) -> dict[str, Any]:
    return {
        key: batch[key] for key in ("input_ids", "position_ids", "attention_mask") if key in batch
    }


def _learned(batch: dict[str, Any]) -> torch.Tensor:
    """Mark the tokens whose layers' inputs count.  # (L, T) bool"""
    if "labels" in batch and batch["labels"].shape == batch["input_ids"].shape:
        return batch["labels"] != IGNORED
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    return torch.ones_like(batch["input_ids"], dtype=torch.bool)


def remember(network: Any) -> None:
    """Keep the first values of the adapter, which saving needs."""
    network.first_values = {
        name.replace(".default.", "."): parameter.detach().cpu().clone()
        for name, parameter in network.named_parameters()
        if ".lora_A.default." in name or ".lora_B.default." in name
    }


def fit_original_base(network: Any, folder: Path) -> None:
    """Rewrite a saved adapter so that it applies to the original base.

    B A - B0 A0 = [B, -B0] [A; A0]: twice the rank, and twice alpha to keep the scale (with
    rsLoRA, sqrt 2 times alpha). Other adapters stay as they were saved.
    """
    first = getattr(network, "first_values", None)
    if first is None or not (folder / "adapter_config.json").is_file():
        return
    weights = load_file(folder / "adapter_model.safetensors")
    for name, values in first.items():
        now = weights[name]
        began = values.to(now.dtype)
        if ".lora_A." in name:
            weights[name] = torch.cat([now, began], dim=0).contiguous()  # (2R, H)
        else:
            weights[name] = torch.cat([now, -began], dim=1).contiguous()  # (H, 2R)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    said = json.loads(path.read_text("utf-8"))
    growth = math.sqrt(2) if said.get("use_rslora") else 2
    said["r"] = 2 * said["r"]
    said["lora_alpha"] = growth * said["lora_alpha"]
    said["rank_pattern"] = {key: 2 * one for key, one in (said["rank_pattern"] or {}).items()}
    said["alpha_pattern"] = {
        key: growth * one for key, one in (said["alpha_pattern"] or {}).items()
    }
    said["init_lora_weights"] = True
    said["lora_ga_config"] = None
    path.write_text(json.dumps(said, indent=2, sort_keys=True), encoding="utf-8")
