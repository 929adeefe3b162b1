"""The head of a sequence classifier: all layers that transformers puts on its body.

Families differ: one linear layer (`score`, `classifier`), several (RoBERTa, DistilBERT), or a
pooler before it, which files of language models often lack. What the files lack starts at random
values, so the head is trained in full and saved with an adapter, every part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swiftbox.core.weights.quantized_bases import SCORE_HEADS

CLASSIFIER = "ForSequenceClassification"
"""What the names of transformers' classes of sequence classifiers contain."""

POOLER = "pooler"
"""The layer of a body that makes one vector of a row, for the head alone."""

LAST_LAYER = re.compile(
    r"\.(?:score|classifier|(?:classifier|classification_head)\.out_proj|logits_proj"
    r"|sequence_summary\.summary)\.weight$"
)
"""The layer of a head that computes its outputs."""

PREFIX = "base_model.model."
"""What peft puts before the names of a model's weights."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of an adapter's tensors by name."""


def head_parts(model: Any) -> tuple[str, ...]:
    """Return the names of the modules that make the head of a classifier; none for others."""
    children = dict(model.named_children())
    if not (CLASSIFIER in type(model).__name__ or children.keys() & set(SCORE_HEADS)):
        return ()
    prefix = model.base_model_prefix
    if prefix not in children:
        return tuple(name for name in children if name in SCORE_HEADS)
    parts = [name for name, child in children.items() if name != prefix and _has_weights(child)]
    if _has_weights(getattr(children[prefix], POOLER, None)):
        parts.append(f"{prefix}.{POOLER}")
    return tuple(parts)


def _has_weights(module: Any) -> bool:
    return module is not None and next(module.parameters(), None) is not None


def is_in_head(name: str, parts: Iterable[str]) -> bool:
    """Tell whether a module or weight belongs to a head of these parts."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def saved_names(model: Any) -> list[str]:
    """Return the parts of a head that peft does not save by itself, by endings it finds them by."""
    names = [name for name, _module in model.named_modules()]
    endings = []
    for part in head_parts(model):
        last = part.rpartition(".")[2]
        if last not in SCORE_HEADS:
            is_clear = [name for name in names if name.endswith(last)] == [part]
            endings.append(last if is_clear else f"model.{part}")
    return endings


def outputs_of(adapters: Sequence[Shapes]) -> int | None:
    """Return the number of outputs of the adapters' score head; None without one."""
    for shapes in adapters:
        for name, shape in shapes.items():
            if LAST_LAYER.search(name):
                return shape[0]
    return None


def unsaved_weights(model: Any, stored: Iterable[str], adapters: Sequence[Shapes]) -> list[str]:
    """Return the weights of a head that neither the files of a base nor its adapters hold."""
    parts, saved = head_parts(model), set(stored)
    saved |= {name.removeprefix(PREFIX) for shapes in adapters for name in shapes}
    return [
        name
        for name, _weight in model.named_parameters()
        if is_in_head(name, parts) and name not in saved
    ]
