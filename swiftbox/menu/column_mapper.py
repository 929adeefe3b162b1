"""Columns that no format reads: the menu asks which is the question and which the answer.

The first rows of a chosen file are read; where their columns are known, nothing is asked. The
answers become `columns:` of the YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from swiftbox.config.task import TaskConfig
from swiftbox.data.column_names import UNUSED
from swiftbox.data.example import UNKNOWN_COLUMNS, RowError
from swiftbox.data.files import files_of, rows_of
from swiftbox.data.formats import column_targets, likely_targets, read_row
from swiftbox.data.proposals import as_columns, shown_values
from swiftbox.data.registry import rename_columns
from swiftbox.data.source import parse_sources
from swiftbox.errors import UserError
from swiftbox.formatting import cut
from swiftbox.language import text
from swiftbox.menu.questions import select
from swiftbox.menu.terminal import columns as terminal_columns
from swiftbox.menu.terminal import print_line, print_wrapped

Row = Mapping[str, Any]
Values = dict[str, Any]

LOOKED_AT = 3
"""Rows whose columns are looked at; two are shown."""

MOST_SHOWN = 10
"""Columns that are shown above the questions: with them the screen of 24 lines is full."""

KEEP, CHOOSE, LEAVE = "keep", "choose", "leave"


@dataclass(frozen=True)
class ColumnRole:
    """What a column can be: our name, and the question that asks for it."""

    name: str
    en: str
    zh: str
    optional: bool = False


TEXT = ColumnRole("text", "Which column is the text to learn?", "要学习的文本是哪一列？")
PROMPT = ColumnRole("prompt", "Which column is the question?", "哪一列是问题？")
QUERY = ColumnRole("query", "Which column is the question?", "哪一列是问题？")
RESPONSE = ColumnRole("response", "Which column is the answer?", "哪一列是回答？")
CHOSEN = ColumnRole("chosen", "Which column is the better answer?", "哪一列是更好的回答？")
REJECTED = ColumnRole("rejected", "Which column is the worse answer?", "哪一列是较差的回答？")
LABEL = ColumnRole("label", "Which column says if it is good?", "哪一列标明好坏？")
REASONING = ColumnRole(
    "reasoning_content", "Which column is the reasoning?", "哪一列是思考过程？", optional=True
)
SYSTEM = ColumnRole(
    "system", "Which column is the system prompt?", "哪一列是系统提示？", optional=True
)


def roles_for(stage: str) -> tuple[ColumnRole, ...]:
    """Return what the rows of a stage consist of, by the columns that it reads."""
    targets = column_targets(stage)
    if TEXT.name in targets and QUERY.name not in targets:
        return (TEXT,)
    if PROMPT.name in targets:
        return (PROMPT,)
    if LABEL.name in targets:
        return (QUERY, RESPONSE, LABEL)
    if CHOSEN.name in targets:
        return (QUERY, CHOSEN, REJECTED)
    return (QUERY, RESPONSE, REASONING, SYSTEM)


def with_columns(config_class: type[TaskConfig], values: Values) -> Values:
    """Return the values with the `columns` of the dataset, asked if they are unknown.

    Raises Back from the first question.
    """
    others = {key: value for key, value in values.items() if key != "columns"}
    stage = config_class.model_fields.get("stage")
    dataset = values.get("dataset")
    if stage is None or not isinstance(dataset, str):
        return values
    name = str(stage.default)
    if _unknown(first_rows(dataset, values.get("columns") or {}), name) is None:
        return values
    rows = first_rows(dataset, {})
    if _unknown(rows, name) is None:
        return others  # the columns of another dataset
    targets = _ask(rows, name)
    return {**others, "columns": targets} if targets else others


def first_rows(dataset: str, columns: Mapping[str, str]) -> list[Row]:
    """Return the first rows of a dataset on this machine; none if it cannot be read."""
    try:
        (source,) = parse_sources([dataset], columns=columns)
        if not Path(source.path).expanduser().exists():
            return []
        placed = islice(rows_of(source, files_of(source)), LOOKED_AT)
        return [row for _, _, row in placed if not isinstance(row, RowError)]
    except (UserError, OSError):  # the check reports it
        return []


def _unknown(rows: Sequence[Row], stage: str) -> RowError | None:
    """Return the error of columns that no format of a stage reads; None if all are read."""
    for row in rows:
        try:
            read_row(row, stage)
        except RowError as error:
            if error.kind == UNKNOWN_COLUMNS:
                return error
    return None


def _ask(rows: Sequence[Row], stage: str) -> dict[str, str]:
    """Show the rows and ask what their columns are; return our names, empty if left."""
    print_wrapped(text("  The columns are not known. The first rows:", "  列名无法识别。前几行："))
    lines = shown_values(rows)
    for line in lines[:MOST_SHOWN]:
        print_line(cut(line, terminal_columns()))
    if len(lines) > MOST_SHOWN:
        more = len(lines) - MOST_SHOWN
        print_line(text(f"  and {more} more columns", f"  另有 {more} 列"))
    proposal = likely_targets(rows, stage)
    action = _what_to_do(proposal)
    if action == LEAVE:
        return {}
    return dict(proposal) if action == KEEP else _chosen(rows, stage, proposal)


def _what_to_do(proposal: Mapping[str, str]) -> str:
    choices = [
        (CHOOSE, text("choose the columns", "逐一选择各列")),
        (LEAVE, text("leave them as they are", "保持不变")),
    ]
    if proposal:
        choices.insert(0, (KEEP, as_columns(proposal)))
    return str(select(text("How are they read?", "如何读取？"), choices))


def _chosen(rows: Sequence[Row], stage: str, proposal: Mapping[str, str]) -> dict[str, str]:
    """Ask for the column of each role, and set those aside that would make it unclear."""
    proposed = {name: column for column, name in proposal.items()}
    names = list(dict.fromkeys(column for row in rows for column in row))
    targets: dict[str, str] = {}
    for role in roles_for(stage):
        left: list[tuple[str | None, str]] = [
            (column, _with_value(column, rows)) for column in names if column not in targets
        ]
        if role.optional:
            left.insert(0, (None, text("none", "无")))
        if not left:
            break
        column = select(text(role.en, role.zh), left, default=proposed.get(role.name))
        if column is not None:
            targets[column] = role.name
    renamed = [rename_columns(row, targets) for row in rows]
    if _unknown(renamed, stage) is not None:
        targets |= {column: UNUSED for column in names if column not in targets}
    return targets


def _with_value(column: str, rows: Sequence[Row]) -> str:
    value = next((row[column] for row in rows if row.get(column)), "")
    return f"{column}: {' '.join(str(value)[:200].split())}"
