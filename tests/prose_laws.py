"""The laws of language as pure functions of text: plain English, and Chinese beside it."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator, Sequence

STILTED = {
    "anew": r"\banew\b",
    "mend": r"\bmend(s|ed|ing)?\b",
    "told": r"\btold\b",
    "be had": r"\b(be|been|can|could) had\b",
    "is no": r"(?<!there )(?<!There )\bis no\b",
    "goes on": r"\b(goes|gone|went|going) on\b",
    "of its own": r"\bof (its|their|his|your|our) own\b",
    "whom": r"\bwhom\b",
    "thereby": r"\bthereby\b",
    "at home": r"\bwhere it is at home\b",
}
"""Words that no native engineer writes in a message, and what finds them."""

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def texts(source: str) -> list[tuple[int, str, str]]:
    """Return the line and the two literal texts of every text(en, zh) call."""
    calls = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "text":
            continue
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            continue
        literals = [literal(argument) for argument in node.args]
        calls.append((node.lineno, *[*literals, "", ""][:2]))
    return calls


def literal(node: ast.AST) -> str:
    """Return the literal parts of an expression, joined."""
    parts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return "".join(str(part) for part in parts)


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every docstring, message and English help text."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (doc := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), doc
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("en", "help", "hint", "description"):
                    yield keyword.value.lineno, literal(keyword.value)
            yield from beside_chinese([*node.args, *(keyword.value for keyword in node.keywords)])
        elif isinstance(node, (ast.Tuple, ast.List)):
            yield from beside_chinese(node.elts)
        elif isinstance(node, ast.Dict):
            yield from beside_chinese(node.values)
        elif isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            yield node.lineno, node.value.value  # a docstring of an attribute
    yield from ((line, english) for line, english, _ in texts(source))


def beside_chinese(expressions: Sequence[ast.expr]) -> Iterator[tuple[int, str]]:
    """Yield the line and text of the English arguments or items that have a Chinese neighbour.

    A message reaches text() through helpers and tables too; its translation stands beside it.
    """
    sentences = [(expression.lineno, literal(expression)) for expression in expressions]
    if any(CHINESE.search(sentence) for _, sentence in sentences):
        yield from (entry for entry in sentences if not CHINESE.search(entry[1]))


def stilted_words(sentence: str) -> list[str]:
    """Return the stilted expressions of one text."""
    plain = " ".join(sentence.split())
    return [word for word, pattern in STILTED.items() if re.search(pattern, plain)]


def stilted(source: str) -> list[tuple[int, str]]:
    """Return the line and word of every stilted expression in prose."""
    return sorted(
        {(line, word) for line, sentence in prose(source) for word in stilted_words(sentence)}
    )


def stilted_table(content: str) -> list[tuple[int, str]]:
    """Return the row and word of every stilted expression in a CSV table, the header being 1."""
    rows = enumerate(csv.reader(content.splitlines()), 1)
    return [(row, word) for row, cells in rows for cell in cells for word in stilted_words(cell)]


def stilted_page(content: str) -> list[str]:
    """Return the stilted expressions of a Markdown page, code left out."""
    without_blocks = re.sub(r"^```.*?^```", "", content, flags=re.MULTILINE | re.DOTALL)
    return stilted_words(re.sub(r"`[^`\n]*`", "", without_blocks))


def untranslated(source: str) -> list[tuple[int, str]]:
    """Return the line and English of every text that lacks its Chinese."""
    missing = []
    for line, english, chinese in texts(source):
        letters = re.sub(r"[^A-Za-z]", "", english)
        if CHINESE.search(english) or (len(letters) > 12 and not CHINESE.search(chinese)):
            missing.append((line, english[:40]))
    return missing
