"""The laws of errors as pure functions of source text; test_error_laws.py asserts them."""

from __future__ import annotations

import ast

USER_ERRORS = frozenset(
    "UserError ConfigError DataError MachineError HubError RunError DiskFullError ChildError "
    "ResultError UnexpectedError MemoryLimitError".split()
)


def without_hint(source: str) -> list[tuple[int, str]]:
    """Return the line and class of every error for the user that is made without a hint."""
    return [
        (node.lineno, name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and (name := getattr(node.func, "id", getattr(node.func, "attr", ""))) in USER_ERRORS
        and not any(keyword.arg in ("hint", None) for keyword in node.keywords)
    ]
