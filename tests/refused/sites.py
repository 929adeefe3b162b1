"""Every refusal of the package, read from its source: where it is made, and what its hint says."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from error_laws import USER_ERRORS
from hint_texts import PACKAGE, VARIABLE, commands, settings, variants
from proposals import fields, verbs

DEPTH = 3
"""How many calls of functions of the same file are followed to a hint."""


@dataclass(frozen=True)
class Module:
    """A file of the package, with its functions by name."""

    name: str
    tree: ast.Module
    functions: Mapping[str, ast.FunctionDef]

    @classmethod
    def of(cls, name: str, tree: ast.Module) -> Module:
        """Describe a parsed file."""
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        return cls(name, tree, {node.name: node for node in nodes})


def hints(module: Module) -> dict[str, set[str]]:
    """Return the English hints of every refusal by its place, file:function."""
    places: dict[str, set[str]] = defaultdict(set)
    for function in module.functions.values():
        for error in _errors(function):
            texts = places[f"{module.name}:{function.name}"]
            for keyword in error.keywords:
                if keyword.arg == "hint":
                    texts.update(_texts(keyword.value, module, function, DEPTH))
    return dict(places)


def _errors(function: ast.FunctionDef) -> Iterator[ast.Call]:
    """Yield the errors for users that a function itself makes, not those of a function in it."""
    remaining: list[ast.AST] = list(ast.iter_child_nodes(function))
    while remaining:
        node = remaining.pop()
        if isinstance(node, ast.FunctionDef):
            continue
        if isinstance(node, ast.Call) and _name(node) in USER_ERRORS:
            yield node
        remaining += ast.iter_child_nodes(node)


def _texts(
    expression: ast.expr, module: Module, function: ast.FunctionDef, depth: int
) -> Iterator[str]:
    """Yield the texts of an expression, of the functions that it calls, of its variables."""
    if isinstance(expression, (ast.JoinedStr, ast.Constant)):
        yield from variants(expression)
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and _name(node) == "text" and len(node.args) == 2:
            yield from variants(node.args[0])
        elif depth and isinstance(node, ast.Call) and _name(node) in module.functions:
            called = module.functions[_name(node)]
            for statement in ast.walk(called):
                if isinstance(statement, (ast.Return, ast.Yield)) and statement.value is not None:
                    yield from _texts(statement.value, module, called, depth - 1)
        elif depth and isinstance(node, ast.Name):
            for statement in ast.walk(function):
                if isinstance(statement, (ast.Assign, ast.AugAssign)) and statement.value:
                    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
                    if any(getattr(target, "id", "") == node.id for target in targets):
                        yield from _texts(statement.value, module, function, depth - 1)


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def proposes(hint: str) -> bool:
    """Tell whether a hint proposes a setting, a command, a package or a variable."""
    keys = [key for key, _ in settings(f"- {hint}") if key in fields()]
    keys += [word for word in re.findall(r"\w+", hint) if "_" in word and word in fields()]
    rest = (commands(hint, verbs()), PACKAGE.findall(hint), VARIABLE.findall(hint))
    return bool(keys or any(rest))
