"""Values in text cells, as JSON or as Python prints them: csv files of hubs hold lists as text."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from typing import Any

LONGEST_LITERAL = 4 * 2**20
"""Characters; far more than a conversation has."""

MISSING_COMMA = re.compile(r"\}[ \t]*\n\s*\{")
"""Between the objects of a printed numpy array; inside a printed text a newline is escaped."""

NEIGHBOURS = re.compile(r"['\"]\s+['\"]")
"""Between two texts without a comma, which Python joins into one; also inside other texts."""

ODD_ESCAPE = re.compile(r"\\(?:[^\\'\"abfnrtvxNuU0-7\n]|[4-7][0-7]{2})")
"""Escapes that Python prints never, and warns about."""

OPENING = ("[", "{")


def decoded(content: str) -> Any:
    """Return the list or object that a text is, in JSON or as Python prints it; None if neither."""
    if not content.lstrip().startswith(OPENING):
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return _literal(content.strip())


def _literal(content: str) -> Any:
    if len(content) > LONGEST_LITERAL or ODD_ESCAPE.search(content.replace("\\\\", "")):
        return None
    content = MISSING_COMMA.sub("},{", content)
    try:
        value = ast.literal_eval(content)
        if _joins_texts(content):
            return None
        as_json = json.dumps(value, ensure_ascii=False, allow_nan=False)
        as_json.encode()  # a text that cannot be encoded is none
        return json.loads(as_json)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _joins_texts(content: str) -> bool:
    """Tell whether texts stand without a comma between them, as a printed numpy array has them."""
    if not NEIGHBOURS.search(content):
        return False
    is_text = False
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if is_text and token.type == tokenize.STRING:
            return True
        if token.type not in (tokenize.NL, tokenize.NEWLINE):
            is_text = token.type == tokenize.STRING
    return False
