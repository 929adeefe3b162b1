"""LoRA adapters on a model: what is matched is looked up, shown and checked before training."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from swiftbox.config.groups import LoraFields
from swiftbox.errors import ConfigError
from swiftbox.language import text

TOWERS = ("vision", "visual", "audio", "image", "speech")
"""Parts of multimodal models that all-linear leaves alone."""

ROUTERS = ("gate", "router")
"""Linear layers that choose experts; an adapter there would change the routing."""


def attach(model: Any, config: LoraFields, adapter: Path | None) -> Any:
    """Return the model with a new adapter, or with the one to continue from."""
    if adapter is not None:
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    asked = config.target_modules
    targets: Any = linear_names(model) if asked == "all-linear" else asked
    if isinstance(targets, str) and targets.isidentifier():
        targets = [targets]  # one name; peft would take a text for a pattern of whole names
    if isinstance(targets, list):
        require_matches(model, targets)
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        modules_to_save=config.modules_to_save or None,
        task_type="SEQ_CLS" if hasattr(model, "score") else "CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def linear_names(model: Any) -> list[str]:
    """List the linear layers that all-linear means: not the head, not routers, not other towers."""
    head = getattr(model, "score", None) or model.get_output_embeddings()
    wanted: list[str] = []
    rest: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        parts = name.split(".")
        skipped = (
            module is head
            or parts[-1] in ROUTERS
            or any(tower in part for part in parts for tower in TOWERS)
        )
        (rest if skipped else wanted).append(name)
    if not wanted:
        raise ConfigError(
            text(
                f"target_modules: all-linear finds no linear layer in {type(model).__name__}",
                f"target_modules：all-linear 在 {type(model).__name__} 中找不到线性层",
            ),
            hint=text(
                "name the layers; the log lists what the model has",
                "请写出层名；日志列出了模型中的层",
            ),
        )
    endings = sorted({name.rsplit(".", 1)[-1] for name in wanted})
    clash = any(name.rsplit(".", 1)[-1] in endings for name in rest)
    return wanted if clash else endings


def require_matches(model: Any, targets: Sequence[str]) -> None:
    """Raise ConfigError when a name matches no layer, with the nearest that exists."""
    names = [name for name, _ in model.named_modules() if name]
    endings = sorted({name.rsplit(".", 1)[-1] for name in names})
    missing = [
        target
        for target in targets
        if not any(name == target or name.endswith(f".{target}") for name in names)
    ]
    if not missing:
        return
    near = difflib.get_close_matches(missing[0], endings, n=3, cutoff=0.3) or endings[:8]
    raise ConfigError(
        text(
            f"target_modules: the model has no {', '.join(missing)}",
            f"target_modules：模型中没有 {', '.join(missing)}",
        ),
        hint=text(
            f"set target_modules: all-linear; near names are {', '.join(near)}",
            f"设 target_modules: all-linear；相近的名称有 {', '.join(near)}",
        ),
    )


def matched(model: Any) -> dict[str, int]:
    """Count the layers that got an adapter, by the last part of their names."""
    found: Counter[str] = Counter()
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and len(module.lora_A):
            found[name.rsplit(".", 1)[-1]] += 1
    return dict(found)


def parameter_counts(model: Any) -> tuple[int, int]:
    """Count the trainable parameters, and all of them."""
    trainable = sum(one.numel() for one in model.parameters() if one.requires_grad)
    return trainable, sum(one.numel() for one in model.parameters())
