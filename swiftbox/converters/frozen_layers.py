"""Freeze tuning of LLaMA-Factory: the last or first layers are trained, or every n-th of them.

It counts from the number of layers, which comes from the model's folder or from the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.converters.rows import KeyOutcome, adopted, refused, split_names
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.config_keys import dimension, language_part
from swiftbox.models.metadata import MetadataError, read_object

LAST_LAYERS = 2
"""LLaMA-Factory's default of freeze_trainable_layers."""


def trained_layers(options: Mapping[str, Any], *, model: Any) -> list[KeyOutcome]:
    """Return full training of some layers; refused if the number of layers is not known."""
    count = options.get("freeze_trainable_layers", LAST_LAYERS)
    total = layer_count(str(model or ""))
    if not isinstance(count, int) or isinstance(count, bool) or count == 0 or total is None:
        return _unknown(model)
    if options.get("use_llama_pro") and total % count:
        return _unknown(model)
    indices = _indices(count, total, spread=bool(options.get("use_llama_pro")))
    modules = split_names(options.get("freeze_trainable_modules") or "all")
    names = "" if "all" in modules else f"(?:{'|'.join(map(re.escape, modules))})"
    numbers = "|".join(map(str, indices))
    return adopted(
        tuner_type="full",
        trainable_parameters=[
            rf"^\D*\.(?:{numbers})\.{names}",
            *split_names(options.get("freeze_extra_modules") or []),
        ],
    )


def _indices(count: int, total: int, *, spread: bool) -> Sequence[int]:
    """Return the layers: the last `count`, the first for a negative one, or the added ones."""
    if spread:
        stride = total // abs(count)
        return range(stride - 1, total, stride)
    return range(max(0, total - count), total) if count > 0 else range(min(-count, total))


def layer_count(model: str) -> int | None:
    """Return the number of layers of a model; None if neither folder nor catalogue tells it."""
    if Path(model).expanduser().is_dir():
        try:
            config = read_object(Path(model).expanduser() / "config.json")
        except (OSError, MetadataError):
            return None
        return dimension(language_part(config), "layers")
    row = catalogue.model(model)
    layers = ((row.dims if row else None) or {}).get("layers")
    return layers if isinstance(layers, int) else None


def _unknown(model: Any) -> list[KeyOutcome]:
    return refused(
        text(
            f"which layers are trained depends on the number of layers of {model}, which is not "
            "known here",
            f"训练哪些层取决于 {model} 的层数，而此处不知道",
        ),
        text(
            "download the model and give its folder as model, or choose tuner_type=full "
            "trainable_parameters='[...]' (tuner_type=llamapro adds layers by itself)",
            "请先下载模型并以其目录为模型；或给出 tuner_type=full trainable_parameters='[...]'"
            "（tuner_type=llamapro 会自行插入新层）",
        ),
        "tuner_type",
    )
