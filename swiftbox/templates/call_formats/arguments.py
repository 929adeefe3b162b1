"""Values of arguments that a model wrote as text, typed by the JSON schema of their tool."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON schema of the parameters of each tool, by its name."""

MAX_DEPTH = 8
"""References and alternatives within a schema that are followed."""

LONGEST_LITERAL = 10_000
"""Characters of a Python literal that is read where JSON is meant."""


def parsed_json(source: str) -> Any:
    """Return the value of JSON that can be written again; raise ValueError for anything else."""
    try:
        return json.loads(source, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _finite(source: str) -> float:
    value = float(source)
    if not math.isfinite(value):
        raise ValueError(f"{source} is not JSON")
    return value


def schemas_of(tools: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Return the schemas of tools in OpenAI's format."""
    schemas: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            schemas[function["name"]] = schema if isinstance(schema, Mapping) else {}
    return schemas


def typed_arguments(values: Mapping[str, str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the values with the types of the schema; text where it has none, or does not fit."""
    schema = schema or {}
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    return {
        name: _typed(value, types_of(properties.get(name), schema))
        for name, value in values.items()
    }


def types_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """Return the names of the types that a schema allows; none if it does not tell."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return frozenset()
    declared = schema.get("type")
    names = [declared] if isinstance(declared, str) else declared
    types = {name for name in names or () if isinstance(name, str)}
    for key in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(key)
        for alternative in alternatives if isinstance(alternatives, list) else ():
            types |= types_of(alternative, root, depth + 1)
    if isinstance(schema.get("$ref"), str):
        types |= types_of(_referenced(schema["$ref"], root), root, depth + 1)
    constants = schema.get("enum")
    constants = constants if isinstance(constants, list) else []
    if not types:
        types |= {_type_name(value) for value in [*constants, *_constant(schema)]}
    return frozenset(types | ({"null"} if schema.get("nullable") is True else set()))


def _constant(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else []


def _referenced(reference: str, root: Mapping[str, Any]) -> Any:
    if not reference.startswith("#/"):
        return None
    value: Any = root
    for part in reference[2:].split("/"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _type_name(value: Any) -> str:
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))
    for kind, name in (*kinds, (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "null"


def _typed(text: str, types: frozenset[str]) -> Any:
    """Return a value; where text is allowed, only null and structures are not text."""
    bare = text.strip()
    if "null" in types and bare in ("null", "None"):
        return None
    if "string" not in types:
        if "boolean" in types and bare.lower() in ("true", "false"):
            return bare.lower() == "true"
        if types & {"integer", "number"} and (number := _number(bare, types)) is not None:
            return number
    kinds = [kind for kind, name in ((dict, "object"), (list, "array")) if name in types]
    structure = _structure(bare) if kinds else None
    return structure if isinstance(structure, tuple(kinds)) else text


def _number(text: str, types: frozenset[str]) -> int | float | None:
    try:
        value = parsed_json(text)
    except ValueError:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value
    if value.is_integer() and "number" not in types:
        return int(value)
    return value if "number" in types else None


def _structure(text: str) -> Any:
    """Return the value of JSON, or of a Python literal, which some templates write instead."""
    try:
        return parsed_json(text)
    except ValueError:
        pass
    if len(text) > LONGEST_LITERAL:
        return None
    try:
        value = ast.literal_eval(text)
        return json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Return arguments as JSON text that can be sent: half a surrogate pair stays escaped."""
    text = json.dumps(arguments, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(arguments)
    return text
