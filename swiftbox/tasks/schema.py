"""JSON Schema of any task's YAML; of a pipeline with the keys of every step."""

from __future__ import annotations

from typing import Any

from swiftbox.config.pipeline import FILE_KEYS
from swiftbox.config.schema import schema
from swiftbox.language import text
from swiftbox.tasks import TASKS
from swiftbox.tasks.pipeline.steps import PIPELINE


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of a task."""
    task = TASKS[name]
    found = schema(list(task.config_classes.values()), task.discriminator)
    if name == PIPELINE:
        _with_steps(found)
    return found


def _with_steps(found: dict[str, Any]) -> None:
    """Describe the steps as they are written: flat, with the keys of their task beside `name`."""
    found["$defs"] = {}
    names = []
    for name, task in TASKS.items():
        if name == PIPELINE:
            continue
        inner = schema(list(task.config_classes.values()), task.discriminator)
        found["$defs"] |= inner["$defs"]
        for choice, variant in zip(task.config_classes, inner["oneOf"], strict=True):
            own = name if choice == name else f"{name}-{choice}"
            found["$defs"][own] = _as_step(variant, name)
            names.append(own)
    (outer,) = found["oneOf"]
    outer["properties"]["steps"] |= {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"$ref": f"#/$defs/{one}"} for one in names]},
    }


def _as_step(variant: dict[str, Any], task: str) -> dict[str, Any]:
    for key in FILE_KEYS:
        variant["properties"].pop(key, None)
    described = text("how later steps refer to this one", "后面的步骤以此引用本步骤")
    variant["properties"] = {
        "name": {"type": "string", "description": described},
        **variant["properties"],
        "task": {"const": task, "description": variant["properties"]["task"]["description"]},
    }
    variant["required"] = sorted({*variant["required"], "name", "task"} - set(FILE_KEYS))
    return variant
