"""JSON schemas by a seeded generator: all that they allow is short, so that answers end."""

from __future__ import annotations

import random
from typing import Any

NAMES = ["name", "at", "the key", "世界", 'quo"te', "b\\c"]
LETTERS = "abcdefgh"


def random_schema(seed: int) -> dict[str, Any]:
    """Return an object's schema with up to three levels, references among them."""
    chooser = random.Random(seed)
    schema = _object(chooser, 3)
    schema["$defs"] = {"shared": _plain(chooser)}
    schema["properties"]["ref"] = {"$ref": "#/$defs/shared"}
    schema["required"].append("ref")
    return schema


def _any(chooser: random.Random, depth: int) -> dict[str, Any]:
    if depth <= 0:
        return _plain(chooser)
    kinds = [_object, _array, _union, lambda chooser, _: _plain(chooser)]
    return chooser.choice(kinds)(chooser, depth - 1)


def _object(chooser: random.Random, depth: int) -> dict[str, Any]:
    names = chooser.sample(NAMES, chooser.randint(1, 3))
    properties = {name: _any(chooser, depth) for name in names}
    required = [name for name in names if chooser.random() < 0.7]
    head: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return {**head, "additionalProperties": False}


def _array(chooser: random.Random, depth: int) -> dict[str, Any]:
    least = chooser.randint(0, 2)
    head: dict[str, Any] = {"type": "array", "items": _any(chooser, depth)}
    return {**head, "minItems": least, "maxItems": least + chooser.randint(0, 1)}


def _union(chooser: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_any(chooser, depth), {"type": "null"}]}


def _plain(chooser: random.Random) -> dict[str, Any]:
    low = chooser.randint(-50, 50)
    plain: list[dict[str, Any]] = [
        {"type": "boolean"},
        {"type": ["integer", "null"], "minimum": low, "maximum": low + chooser.randint(0, 500)},
        {"type": "integer", "minimum": 0, "maximum": 90, "multipleOf": chooser.randint(2, 7)},
        {"type": "string", "minLength": 1, "maxLength": chooser.randint(1, 8)},
        {"type": "string", "pattern": "^[a-c]{1,3}-[0-9]{2}$"},
        {"type": "string", "format": chooser.choice(["date", "ipv4", "uuid"])},
        {"enum": [1, "one", None, 2.5, [True], {"a": "世"}][: chooser.randint(1, 6)]},
        {"const": "".join(chooser.choices(LETTERS, k=3))},
    ]
    return chooser.choice(plain)
