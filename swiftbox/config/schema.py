"""JSON Schema of a task's YAML, from the same fields that make the menu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from swiftbox.config.fields import cards
from swiftbox.language import text


def schema(models: Sequence[type[BaseModel]], discriminator: str) -> dict[str, Any]:
    """Return one schema for a union of configs told apart by the discriminator.

    Every key carries its description in the current language, its default, enum and bounds.
    """
    definitions: dict[str, Any] = {}
    variants = []
    for model in models:
        one = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= one.pop("$defs", {})
        _describe(one, model, discriminator)
        variants.append(one)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": text("swiftbox YAML", "swiftbox YAML 配置"),
        "type": "object",
        "oneOf": variants,
        "$defs": definitions,
    }


def _describe(found: dict[str, Any], model: type[BaseModel], discriminator: str) -> None:
    """Add the texts, and require the discriminator of every class but the default's."""
    for card in cards(model):
        described = found["properties"][card.name]
        for extra in ("label_zh", "zh", "section", "essential", "only", "title"):
            described.pop(extra, None)
        described["description"] = card.help
    found.pop("title", None)
    found["required"] = sorted({*found.get("required", ()), discriminator})
