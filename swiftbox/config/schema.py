"""JSON Schema of a task's YAML, from the same fields that make the menu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from swiftbox.config.fields import cards
from swiftbox.language import text


def schema(models: Sequence[type[BaseModel]], discriminator: str) -> dict[str, Any]:
    """Return one schema for a union of configs, which the discriminator selects from.

    Every key carries its description in the current language, its default, enum and bounds.
    """
    definitions: dict[str, Any] = {}
    variants = []
    for model in models:
        variant = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= variant.pop("$defs", {})
        _describe(variant, model, discriminator)
        variants.append(variant)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": text("swiftbox YAML", "swiftbox YAML 配置"),
        "type": "object",
        "oneOf": variants,
        "$defs": definitions,
    }


def _describe(variant: dict[str, Any], model: type[BaseModel], discriminator: str) -> None:
    """Add the help texts, and require the discriminator."""
    for card in cards(model):
        described = variant["properties"][card.name]
        for extra in ("label_zh", "zh", "section", "essential", "only", "limited", "title"):
            described.pop(extra, None)
        described["description"] = card.help
        _describe_sources(described)
    variant.pop("title", None)
    variant["required"] = sorted({*variant.get("required", ()), discriminator})


def _describe_sources(described: dict[str, Any]) -> None:
    """Add that a list of datasets may be a single mapping, which is read as a list of one."""
    forms = described.get("anyOf", [])
    for form in forms:
        _describe_sources(form)
    items = [form["items"] for form in forms if form.get("type") == "array"]
    sources = [form for item in items for form in item.get("anyOf", []) if "$ref" in form]
    if sources:
        described["anyOf"] = [*forms, *sources]
