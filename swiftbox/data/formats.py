"""The row formats: each one pure function row -> Example, chosen by the columns a row has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from swiftbox.data.cells import Row
from swiftbox.data.classified import (
    FIRST,
    SECOND,
    TARGETS,
    TEXTS,
    read_answer_class,
    read_conversation_class,
    read_pair_class,
    read_text_class,
)
from swiftbox.data.column_errors import either, misspelled, unclear_columns, unclear_text
from swiftbox.data.column_names import (
    ANSWERS,
    CONTEXTS,
    CONVERSATION_COLUMNS,
    MEDIA,
    PROMPT_COLUMNS,
    PROMPT_PARTS,
    QUESTIONS,
    REASONING_COLUMNS,
    UNUSED,
    respelled,
)
from swiftbox.data.conversations import (
    NOT_A_TRANSCRIPT,
    read_alpaca,
    read_messages,
    read_query,
    read_sharegpt,
    read_text,
    read_transcript,
)
from swiftbox.data.example import UNKNOWN_COLUMNS, Example, RowError
from swiftbox.data.function_calls import read_function_calls
from swiftbox.data.labels import LABELS, SCORES, read_labelled, require_unlabelled, with_margin
from swiftbox.data.loss_weights import weight_columns, weighted_turns
from swiftbox.data.preferences import (
    BETTER,
    NUMBERED,
    REJECTED,
    read_better,
    read_chosen,
    read_rejected,
)
from swiftbox.data.prompts import read_prompt
from swiftbox.data.proposals import (
    ASKED,
    as_columns,
    kind_of_rows,
    listed_columns,
    proposed_targets,
    rivals,
)
from swiftbox.data.registry import rename_columns
from swiftbox.data.shapes import PAIRED, SFT, shape_renames
from swiftbox.data.turns import unread_keys

LABELLED = ("kto",)
PROMPTED = ("grpo",)
CLASSIFIED = ("classification",)
WITH_MARGINS = ("reward",)
"""Stages that use the margin of a pair."""

QUESTION = (*QUESTIONS, "instruction")


@dataclass(frozen=True)
class Format:
    """One way to write a row: its columns, the stages it serves, and how it is read.

    A row has this format if it has one column of each group and none of `unless`: a pair must not
    be learned as a conversation, although it contains one.
    """

    name: str
    stages: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Example]
    unless: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    """Columns that it reads in addition, where a row has them."""
    prompt: tuple[str, ...] = ()
    """Columns of which it reads the first in addition."""

    def matches(self, columns: frozenset[str]) -> bool:
        """Return whether a row with these columns has this format."""
        return not self.missing(columns) and columns.isdisjoint(self.unless)

    def used(self, columns: frozenset[str]) -> frozenset[str]:
        """Return the columns that are read: of each group the first that a row has."""
        first = [
            next((name for name in group if name in columns), "")
            for group in (*self.columns, self.prompt)
        ]
        parts = CONTEXTS if not frozenset(QUESTION).isdisjoint(first) else ()
        return frozenset((*first, *parts, *self.optional)) & columns

    def missing(self, columns: frozenset[str]) -> list[tuple[str, ...]]:
        """Return the groups of which a row with these columns has no column."""
        return [group for group in self.columns if columns.isdisjoint(group)]


TALK = ("system", "tools")
"""Further columns of conversations."""
PROMPT = (*TALK, "history")
"""Further columns of a prompt that has two answers."""
ANSWERED = ("system", "tools", "history", *REASONING_COLUMNS)
"""Further columns of a question and its answer."""
ANSWERED_QUERY = (*ANSWERED, *CONTEXTS)
MARGINS = frozenset(("margin", *SCORES[0], *SCORES[1]))
"""Columns of the margin of a pair."""
ANSWERED_FORMATS = ("alpaca", "query-response", "response-label")
"""Formats that read a question and an answer, which must be the only ones."""

FORMATS = (
    Format("messages", SFT, (("messages",),), read_messages, REJECTED, TALK),
    Format("sharegpt", SFT, (("conversations",),), read_sharegpt, REJECTED, TALK),
    Format("alpaca", SFT, (("instruction",), ("output",)), read_alpaca, REJECTED, ANSWERED),
    Format("query-response", SFT, (QUESTIONS, ANSWERS), read_query, REJECTED, ANSWERED_QUERY),
    Format("text", ("pt",), (("text",),), read_text),
    Format(
        "chosen-rejected",
        PAIRED,
        (("chosen",), ("rejected",)),
        read_chosen,
        (),
        PROMPT,
        PROMPT_COLUMNS,
    ),
    Format(
        "messages-rejected", PAIRED, (CONVERSATION_COLUMNS, REJECTED), read_rejected, (), PROMPT
    ),
    Format("response-rejected", PAIRED, (QUESTION, ANSWERS, REJECTED), read_rejected, (), PROMPT),
    Format(
        "better-response",
        PAIRED,
        (NUMBERED[:1], NUMBERED[1:], (BETTER,)),
        read_better,
        (),
        PROMPT,
        PROMPT_COLUMNS,
    ),
    Format("messages-label", LABELLED, (CONVERSATION_COLUMNS, LABELS), read_labelled, (), TALK),
    Format(
        "response-label", LABELLED, (QUESTION, ANSWERS, LABELS), read_labelled, (), ANSWERED_QUERY
    ),
    Format("prompt", PROMPTED, (PROMPT_COLUMNS,), read_prompt),
    Format(
        "function-calls", SFT, (QUESTIONS, ("tools",), ("answers",)), read_function_calls, REJECTED
    ),
    Format("transcript", SFT, (("text",),), read_transcript, (*QUESTION, *ANSWERS, *LABELS)),
    Format(
        "messages-class",
        CLASSIFIED,
        (CONVERSATION_COLUMNS, TARGETS),
        read_conversation_class,
        (),
        TALK,
    ),
    Format("pair-class", CLASSIFIED, (FIRST, SECOND, TARGETS), read_pair_class),
    Format(
        "answer-class", CLASSIFIED, (QUESTIONS, ANSWERS, TARGETS), read_answer_class, (), ANSWERED
    ),
    Format("text-class", CLASSIFIED, (TEXTS, TARGETS), read_text_class),
)
"""The first format that matches the columns and the stage is used."""

KNOWN = frozenset(name for row_format in FORMATS for group in row_format.columns for name in group)
OPTIONAL = MEDIA.union((UNUSED,), MARGINS, *(row_format.optional for row_format in FORMATS))
"""Columns that formats may have in addition."""

WEIGHTED = ("messages", "sharegpt")
"""Formats that read columns with the weights of all turns."""

PREFERENCES = "preferences"
"""The kind of RowError of rows whose answers are compared or judged, in a stage that learns one."""

CHECKED = MEDIA.union(LABELS)
"""Columns whose content may forbid training on a row."""


@dataclass(frozen=True)
class ColumnReading:
    """How rows with certain columns are read: their format, our name of each column renamed."""

    format: Format
    renames: Mapping[str, str]
    unused: tuple[str, ...]
    """The columns that nobody reads, under their names in the file."""
    turns: str | None
    """The column with turns, if there is one."""


def read_row(row: Row, stage: str) -> tuple[str, Example]:
    """Return the name of a row's format and its example; raise RowError if it has none."""
    reading = _reading_of(row, stage)
    row_format = reading.format
    if reading.renames:
        row = rename_columns(row, reading.renames)
    if not CHECKED.isdisjoint(row):
        _require_no_media(row)
        if row_format.stages == SFT:
            require_unlabelled(row)
    try:
        example = row_format.read(row)
    except RowError as error:
        if error.kind != NOT_A_TRANSCRIPT:
            raise
        raise ask_for_columns([row], stage, error) from None
    if stage in WITH_MARGINS:
        example = with_margin(example, row)
    unused = reading.unused
    turns = row[reading.turns] if reading.turns else None
    if row_format.name in WEIGHTED and (read := weight_columns(row)):
        unused = tuple([name for name in unused if name not in read])
        turns = weighted_turns(turns, row) if isinstance(turns, list) else turns
    if turns and (keys := unread_keys(turns)):
        unused += tuple([f"{reading.turns}[].{key}" for key in sorted(keys)])
    return row_format.name, example.with_unused(unused) if unused else example


def _reading_of(row: Row, stage: str) -> ColumnReading:
    """Choose the reading by the columns that are filled, else by all columns."""
    if None in row.values():
        filled = frozenset([name for name, value in row.items() if value is not None])
        reading = _reading(filled, stage)
        if type(reading) is ColumnReading:
            return reading
    reading = _reading(frozenset(row), stage)
    if isinstance(reading, RowError):
        raise ask_for_columns([row], stage, reading)
    return reading


def detect(columns: frozenset[str], stage: str) -> Format:
    """Choose the format of a row by its columns; raise RowError when none fits the stage."""
    reading = _reading(columns, stage)
    if isinstance(reading, RowError):
        # a cached exception would collect tracebacks
        raise RowError(reading.kind, reading.en, reading.zh)
    return reading.format


def _names_of(stage: str) -> frozenset[str]:
    """Return our names that columns of a stage may have in another spelling."""
    formats = [row_format for row_format in FORMATS if stage in row_format.stages]
    groups = [group for row_format in formats for group in row_format.columns]
    return MEDIA.union(column_targets(stage), *groups)


@lru_cache(maxsize=256)
def _reading(columns: frozenset[str], stage: str) -> ColumnReading | RowError:
    is_prompt = stage in PROMPTED
    renames = respelled(columns, PROMPT_PARTS if is_prompt else _names_of(stage))
    names = frozenset(renames.get(column, column) for column in columns)
    choice = _choice(names, stage)
    if isinstance(choice, RowError) and (shape := shape_renames(names, stage)):
        spelled = {column: renames.get(column, column) for column in columns}
        renames = {column: shape.get(name, name) for column, name in spelled.items()}
        renames = {column: name for column, name in renames.items() if column != name}
        names = frozenset(renames.get(column, column) for column in columns)
        choice = _choice(names, stage)
    if isinstance(choice, RowError):
        return choice
    if choice.name in ANSWERED_FORMATS and (unclear := rivals(names)):
        return unclear_columns(columns, unclear)
    if choice.name == "text-class" and len(texts := [name for name in TEXTS if name in names]) > 1:
        return unclear_text(columns, texts)
    used = choice.used(names).union(MEDIA, (UNUSED,), MARGINS if stage in WITH_MARGINS else ())
    unread = sorted(column for column in columns if renames.get(column, column) not in used)
    turns = next((name for name in CONVERSATION_COLUMNS if name in choice.used(names)), None)
    return ColumnReading(choice, renames, () if is_prompt else tuple(unread), turns)


def likely_targets(rows: Sequence[Row], stage: str) -> dict[str, str]:
    """Return our name of each column that matters, for rows of unknown columns.

    Empty where the names and values do not say it, or where the result could not be read.
    """
    targets = proposed_targets(rows, stage)
    columns = {column for row in rows for column in row}
    reading = _reading(frozenset(targets.get(column, column) for column in columns), stage)
    return {} if isinstance(reading, RowError) else targets


def column_targets(stage: str) -> tuple[str, ...]:
    """Return our names that a column may be renamed to in a stage, the usual ones first."""
    formats = [row_format for row_format in FORMATS if stage in row_format.stages]
    names = [name for row_format in formats for group in row_format.columns for name in group[:1]]
    further = [name for row_format in formats for name in row_format.optional]
    margins = sorted(MARGINS) if stage in WITH_MARGINS else ()
    return tuple(dict.fromkeys((*names, *further, *margins, UNUSED)))


def ask_for_columns(rows: Sequence[Row], stage: str, error: RowError) -> RowError:
    """Return the error of unknown columns with a proposal from the names and values of rows."""
    targets = {} if error.kind == PREFERENCES else likely_targets(rows, stage)
    if not targets:
        return RowError(error.kind, error.en, error.zh)
    listed, proposal = listed_columns(rows[0]), as_columns(targets)
    en, zh = ASKED[kind_of_rows(stage)]
    return RowError(
        UNKNOWN_COLUMNS,
        f"it is not clear {en}: {listed} (columns: {proposal})",
        f"不清楚{zh}：{listed}（columns: {proposal}）",
    )


def _choice(columns: frozenset[str], stage: str) -> Format | RowError:
    matching = [candidate for candidate in FORMATS if candidate.matches(columns)]
    for candidate in matching:
        if stage in candidate.stages:
            return candidate
    # Nearly every row has a prompt and so matches grpo: that hardly shows what it is meant for.
    meant = [candidate for candidate in matching if candidate.stages != PROMPTED]
    if not meant and stage not in PAIRED and (shape := shape_renames(columns, PAIRED[0])):
        paired = frozenset(shape.get(column, column) for column in columns)
        meant = [candidate for candidate in FORMATS if candidate.matches(paired)]
    usable = [candidate for candidate in FORMATS if stage in candidate.stages]
    if meant:
        other = max(meant, key=lambda candidate: len(candidate.columns))
        return _other_stage(columns, stage, other, usable)
    return _unknown(columns, stage, usable)


def _other_stage(
    columns: frozenset[str], stage: str, other: Format, usable: Iterable[Format]
) -> RowError:
    """Name the stages that use rows of a format, and the column that is missing for this one."""
    en = f"{other.name} rows are for stage: {either(other.stages, ' or ')}, not {stage}"
    zh = f"{other.name} 格式的数据用于 stage: {either(other.stages, ' 或 ')}，而不是 {stage}"
    near = [
        candidate
        for candidate in usable
        if len(candidate.columns) > 1 and len(candidate.missing(columns)) == 1
    ]
    if near:
        group = min(near, key=lambda candidate: len(candidate.stages)).missing(columns)[0]
        en += f" (for {stage} they also need {either(group, ' or ')})"
        zh += f"（用于 {stage} 还需要列 {either(group, ' 或 ')}）"
    return RowError(PREFERENCES if {*PAIRED, *LABELLED} >= {*other.stages} else "stage", en, zh)


def _unknown(columns: frozenset[str], stage: str, usable: Iterable[Format]) -> RowError:
    listed = listed_columns(sorted(columns))
    names = sorted({name for candidate in usable for group in candidate.columns for name in group})
    for column in sorted(columns - KNOWN - OPTIONAL):
        if near := misspelled(column, names):
            return RowError(
                UNKNOWN_COLUMNS,
                f"no known format in: {listed} (columns: {{{column}: {near}}} renames one)",
                f"无法识别的列：{listed}（可用 columns: {{{column}: {near}}} 改名）",
            )
    partly = [
        candidate for candidate in usable if not columns.isdisjoint(sum(candidate.columns, ()))
    ]
    for candidate in partly:
        groups = [", ".join(group) for group in candidate.missing(columns)]
        en, zh = "; and one of: ".join(groups), "；以及之一：".join(groups)
        return RowError(
            UNKNOWN_COLUMNS,
            f"no known format in: {listed} ({candidate.name} rows also need one of: {en})",
            f"无法识别的列：{listed}（{candidate.name} 格式还需要以下之一：{zh}）",
        )
    readable = " | ".join(
        " + ".join(group[0] for group in candidate.columns) for candidate in usable
    )
    return RowError(
        UNKNOWN_COLUMNS,
        f"no known format in: {listed} (stage: {stage} reads {readable})",
        f"无法识别的列：{listed}（stage: {stage} 可读取 {readable}）",
    )


def _require_no_media(row: Row) -> None:
    for name in sorted(MEDIA & row.keys()):
        if row[name]:
            raise RowError(
                "media",
                f"has {name}, which this stage does not support",
                f"含有 {name}，此阶段不支持",
            )
