"""What is special in the attention of model families, for models whose config.json is not here.

Kernels for joined rows have neither soft caps nor chunks: a plan that took them for granted would
have to fall back to attention with more work and memory once the model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class _Family:
    trait: str
    """A field of ModelShape: softcap or chunked."""
    model_types: tuple[str, ...]
    name: re.Pattern[str]
    """Found in the names of its models and of those trained from them."""


FAMILIES = (
    _Family(
        "softcap",
        ("gemma2", "gemma2_text", "vaultgemma"),
        re.compile(r"gemma[-_]?2(?![b\d.])|vaultgemma", re.IGNORECASE),
    ),
    _Family(
        "chunked",
        ("llama4", "llama4_text"),
        re.compile(r"llama[-_]?4(?![b\d.])", re.IGNORECASE),
    ),
)


def traits_of_type(model_type: str) -> Mapping[str, bool]:
    """Return the traits of a model type."""
    return {family.trait: model_type in family.model_types for family in FAMILIES}


def traits_in_name(name: str) -> Mapping[str, bool]:
    """Return the traits that a model's name suggests."""
    last = name.rsplit("/", 1)[-1]
    return {family.trait: family.name.search(last) is not None for family in FAMILIES}
