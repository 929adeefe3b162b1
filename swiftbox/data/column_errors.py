"""What is said of columns that could be read in several ways, or that are misspelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swiftbox.data.column_names import UNUSED
from swiftbox.data.example import UNKNOWN_COLUMNS, RowError
from swiftbox.data.proposals import listed_columns
from swiftbox.formatting import nearest

NEAR = 0.75
"""How alike a column and one of ours are in a misspelling."""


def unclear_columns(columns: frozenset[str], unclear: Iterable[str]) -> RowError:
    """Return the error of a question and an answer that could be in several columns."""
    listed, names = listed_columns(sorted(columns)), listed_columns(dict.fromkeys(unclear))
    return RowError(
        UNKNOWN_COLUMNS,
        f"not clear how to read {names} in: {listed} (say it with columns: {{NAME: query}}, "
        f"response, input, reasoning_content or {UNUSED})",
        f"不清楚如何读取 {names}（所有列：{listed}）；请用 columns: {{列名: query}} 说明，"
        f"可用 response、input、reasoning_content 或 {UNUSED}",
    )


def unclear_text(columns: frozenset[str], texts: Sequence[str]) -> RowError:
    """Return the error of a text to classify that could be in several columns."""
    listed, names = listed_columns(sorted(columns)), listed_columns(texts)
    return RowError(
        UNKNOWN_COLUMNS,
        f"not clear which of {names} is classified in: {listed} (say it with columns: {{NAME: "
        f"text, OTHER: {UNUSED}}}, or sentence1 and sentence2 for a pair)",
        f"不清楚对 {names} 中的哪一列分类（所有列：{listed}）；请用 columns: {{列名: text, "
        f"其他列: {UNUSED}}} 说明，两段文字用 sentence1 与 sentence2",
    )


def misspelled(column: str, names: Iterable[str]) -> str:
    """Return the name that a column misspells: with as many parts, and nearly all letters."""
    parts = column.count("_")
    alike = [name for name in names if name.count("_") == parts]
    return nearest(column.lower(), alike, cutoff=NEAR)


def either(names: tuple[str, ...], last: str) -> str:
    """Return names with commas, and `last` before the last of them."""
    return last.join(part for part in (", ".join(names[:-1]), names[-1]) if part)
