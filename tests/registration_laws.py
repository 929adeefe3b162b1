"""The laws of the tables as pure functions: what is declared is registered."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping


def declarations(source: str, kind: str) -> list[str]:
    """Return the module-level variables that are a `kind(...)`, or annotated as a `kind[...]`."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "id", "") == kind:
                names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotation = node.annotation
            if isinstance(annotation, ast.Subscript):
                annotation = annotation.value
            if getattr(annotation, "id", "") == kind:
                names.append(node.target.id)
    return names


def unregistered(sources: Mapping[str, str], kind: str, table: str) -> list[tuple[str, str]]:
    """Return the file and variable of every `kind` that the module with the table never names.

    A table names a variable by itself or, to import it lazily, as "module:VARIABLE".
    """
    names = set()
    for node in ast.walk(ast.parse(table)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value.rpartition(":")[2])
    return [
        (file, name)
        for file, source in sources.items()
        for name in declarations(source, kind)
        if name not in names
    ]


def unpaired(declared: Iterable[str], registered: Iterable[str]) -> list[str]:
    """Return the names that stand on one side only."""
    return sorted({*declared} ^ {*registered})
