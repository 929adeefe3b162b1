"""JSON Schema of a task's YAML; for a pipeline, with the keys of every step."""

from __future__ import annotations

from typing import Any

from swiftbox.config.pipeline import FILE_KEYS, StepPolicy
from swiftbox.config.schema import schema
from swiftbox.language import text
from swiftbox.tasks import TASKS
from swiftbox.tasks.pipeline.steps import PIPELINE


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of a task."""
    task = TASKS[name]
    task_schema = schema(list(task.config_classes.values()), task.discriminator)
    if name == PIPELINE:
        _add_steps(task_schema)
    return task_schema


def _add_steps(pipeline: dict[str, Any]) -> None:
    """Describe the steps as they are written: flat, with the keys of their task next to `name`."""
    pipeline["$defs"] = {}
    names = []
    for name, task in TASKS.items():
        if name == PIPELINE:
            continue
        inner = schema(list(task.config_classes.values()), task.discriminator)
        pipeline["$defs"] |= inner["$defs"]
        for choice, variant in zip(task.config_classes, inner["oneOf"], strict=True):
            definition = name if choice == name else f"{name}-{choice}"
            pipeline["$defs"][definition] = _as_step(variant, name)
            names.append(definition)
    (outer,) = pipeline["oneOf"]
    outer["properties"]["steps"] |= {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]},
    }


def _as_step(variant: dict[str, Any], task: str) -> dict[str, Any]:
    for key in FILE_KEYS:
        variant["properties"].pop(key, None)
    description = text("the name that later steps refer to", "后面的步骤以此名称引用本步骤")
    (policy,) = schema([StepPolicy], "name")["oneOf"]
    variant["properties"] = {
        "name": {"type": "string", "description": description},
        **policy["properties"],
        **variant["properties"],
        "task": {"const": task, "description": variant["properties"]["task"]["description"]},
    }
    variant["required"] = sorted({*variant["required"], "name", "task"} - set(FILE_KEYS))
    return variant
