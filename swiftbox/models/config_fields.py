"""What config.json of a model may hold: dimensions, number types, positions, and field types.

The types of a family's own fields are read from the source of the installed transformers, which
refuses other types when the model is loaded; importing it takes seconds, and parsing a file does
not.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.architectures.tables import library_folder
from swiftbox.language import text
from swiftbox.models.config_keys import MAX_DIMENSION, NAMES, NESTED, language_part
from swiftbox.models.metadata import shown

FLOAT_TYPES = ("float32", "bfloat16", "float16", "float64", "auto")

POSITIVE = ("hidden", "layers", "heads", "kv_heads", "vocab")
"""Dimensions that are never 0; the others may be, in models without that part."""

ROPE_KEYS = ("rope_scaling", "rope_parameters")
ROPE_TYPES: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "mrope": (),
    "axial": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "su": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "proportional": (),
}
"""The keys that each kind of scaled positions requires; modeling_rope_utils.py of 5.23."""

CONTAINERS = {"quantization_config": dict, "auto_map": dict, "architectures": list}

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "list": list,
    "tuple": list,
    "dict": dict,
    "None": type(None),
}
"""The types of JSON by the names in annotations; JSON writes a whole float as it likes."""


def config_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a config.json, each with its key and value."""
    if "transformers_weights" in config:
        yield text(
            "transformers_weights names other weights than the ones that are checked",
            "transformers_weights 指定了未经检查的其他权重",
        )
    for key, container in CONTAINERS.items():
        if config.get(key) is not None and not isinstance(config[key], container):
            yield _not(key, config[key], *_JSON_NAMES[container])
    for key in NESTED:
        if config.get(key) is not None and not isinstance(config[key], dict):
            yield _not(key, config[key], *_JSON_NAMES[dict])
    yield from _type_problems(config)
    part = language_part(config)
    for settings in [config] if part is config else [config, part]:
        yield from _dimension_problems(settings)
        yield from _number_type_problems(settings)
        yield from _rope_problems(settings)
        yield from _field_problems(settings)


_JSON_NAMES: Mapping[type, tuple[str, str]] = {
    dict: ("an object", "对象"),
    list: ("a list", "列表"),
}


def _not(key: str, value: object, expected: str, expected_zh: str) -> str:
    return text(
        f"{key} is {shown(value)}, not {expected}", f"{key} 为 {shown(value)}，应为{expected_zh}"
    )


def _type_problems(config: Mapping[str, Any]) -> Iterator[str]:
    model_type = config.get("model_type")
    if model_type is None and not isinstance(config.get("auto_map"), dict):
        yield text("it has no model_type", "缺少 model_type")
    elif model_type is not None and (not isinstance(model_type, str) or not model_type):
        yield _not("model_type", model_type, "a name", "名称")


def _dimension_problems(config: Mapping[str, Any]) -> Iterator[str]:
    for name, keys in NAMES.items():
        for key in keys:
            values = config.get(key)
            for value in values if isinstance(values, list) else [values]:
                if value is not None and (problem := _dimension_problem(name, key, value)):
                    yield problem
                    break
    heads, kv_heads = (whole_dimension(config, name) for name in ("heads", "kv_heads"))
    if heads and kv_heads and heads % kv_heads:
        yield text(
            f"{heads} attention heads cannot share {kv_heads} heads of keys",
            f"{heads} 个注意力头无法均分 {kv_heads} 个键值头",
        )


def _dimension_problem(name: str, key: str, value: object) -> str:
    if name == "context":  # an upper limit, which some models state as a float or not at all
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number else _not(key, value, "a number", "数")
    if not isinstance(value, int) or isinstance(value, bool):
        return _not(key, value, "a whole number", "整数")
    if value < 0 or (value == 0 and name in POSITIVE):
        return _not(key, value, "a positive number", "正数")
    if value > MAX_DIMENSION:
        return _not(key, value, f"at most {MAX_DIMENSION:,}", f"不超过 {MAX_DIMENSION:,} 的数")
    return ""


def whole_dimension(config: Mapping[str, Any], name: str) -> int | None:
    """Return a dimension that is one number for all layers; None for anything else."""
    value = next((config[key] for key in NAMES[name] if config.get(key) is not None), None)
    return value if type(value) is int and value > 0 else None


def _number_type_problems(config: Mapping[str, Any]) -> Iterator[str]:
    for key in ("dtype", "torch_dtype"):
        value = config.get(key)
        if isinstance(value, dict) or value is None:  # a type for each part of the model
            continue
        if not isinstance(value, str) or value.removeprefix("torch.") not in FLOAT_TYPES:
            known = ", ".join(FLOAT_TYPES)
            yield _not(key, value, f"one of {known}", f"以下之一：{known}")


def _rope_problems(config: Mapping[str, Any]) -> Iterator[str]:
    theta = config.get("rope_theta")
    if theta is not None and not isinstance(theta, dict) and not _is_positive(theta):
        yield _not("rope_theta", theta, "a positive number", "正数")
    for key in ROPE_KEYS:
        settings = config.get(key)
        if settings is None:
            continue
        if not isinstance(settings, dict):
            yield _not(key, settings, *_JSON_NAMES[dict])
            continue
        nested = [value for value in settings.values() if isinstance(value, dict)]
        for rope in nested or [settings]:
            yield from _rope_setting_problems(key, rope)


def _rope_setting_problems(key: str, rope: Mapping[str, Any]) -> Iterator[str]:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in list(ROPE_TYPES):
        known = ", ".join(ROPE_TYPES)
        yield _not(f"{key}.rope_type", kind, f"one of {known}", f"以下之一：{known}")
        return
    for name in ROPE_TYPES[kind]:
        if name not in rope:
            yield text(f"{key} of type {kind} lacks {name}", f"{kind} 类型的 {key} 缺少 {name}")
    for name, value in rope.items():
        is_number = name.endswith(("factor", "theta", "max_position_embeddings"))
        if not is_number or value is None:
            continue
        numbers = value if isinstance(value, list) else [value]
        if not all(map(_is_positive, numbers)):
            yield _not(f"{key}.{name}", value, "a positive number", "正数")


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0 and (isinstance(value, int) or math.isfinite(value))


# ---- the types of a family's own fields


def _field_problems(config: Mapping[str, Any]) -> Iterator[str]:
    dimensions = {key for keys in NAMES.values() for key in keys}
    for key, expected in field_types(str(config.get("model_type") or "")).items():
        if key not in config or key in CONTAINERS:
            continue
        if key in dimensions and config[key] is not None:
            continue
        if not isinstance(config[key], expected):
            names = sorted({TYPE_NAMES[type_] for type_ in expected})
            yield _not(key, config[key], *(" / ".join(part) for part in zip(*names, strict=True)))


TYPE_NAMES: Mapping[type, tuple[str, str]] = {
    int: ("a number", "数"),
    float: ("a number", "数"),
    bool: ("true or false", "true 或 false"),
    str: ("a text", "文本"),
    list: ("a list", "列表"),
    dict: ("an object", "对象"),
    type(None): ("null", "null"),
}


def field_types(model_type: str) -> Mapping[str, tuple[type, ...]]:
    """Return the JSON types of a family's fields, where the annotations name plain types only."""
    module = _source_of(model_type)
    if module is None:
        return {}
    try:
        classes = [
            node
            for node in ast.parse(module.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef)
        ]
    except (OSError, ValueError, SyntaxError):
        return {}
    for node in classes:
        if any(_assigns(line, "model_type", model_type) for line in node.body):
            return dict(_annotated(node))
    return {}


def _source_of(model_type: str) -> Path | None:
    folder, name = library_folder(), model_type.replace("-", "_")
    if folder is None or not name.isidentifier():
        return None
    path = folder / "models" / name / f"configuration_{name}.py"
    return path if path.is_file() else None


def _assigns(line: ast.stmt, name: str, value: str) -> bool:
    return (
        isinstance(line, ast.Assign)
        and [target.id for target in line.targets if isinstance(target, ast.Name)] == [name]
        and isinstance(line.value, ast.Constant)
        and line.value.value == value
    )


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, tuple[type, ...]]]:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            names = [part.strip() for part in _top_level(ast.unparse(line.annotation))]
            plain = [name.partition("[")[0] for name in names]
            if all(name in TYPES for name in plain):
                yield line.target.id, _flat(TYPES[name] for name in plain)


def _top_level(annotation: str) -> list[str]:
    """Split a union at its bars, not at those inside brackets."""
    parts, depth = [""], 0
    for letter in annotation:
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _flat(types: Iterator[type | tuple[type, ...]]) -> tuple[type, ...]:
    flat: list[type] = []
    for entry in types:
        flat += entry if isinstance(entry, tuple) else (entry,)
    return tuple(dict.fromkeys(flat))
