"""What columns with unknown names are likely to be, by their names and values: a proposal to ask.

Nothing is read by a guess: a proposal is shown with the values, and the user decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swiftbox.data.column_names import ANSWERS, CONTEXTS, QUESTIONS, REASONING_COLUMNS, UNUSED
from swiftbox.security.printable import printable

Row = Mapping[str, Any]

THOUGHTS = (
    r"(^|[_\W])(cot|rationales?|think|thoughts?|thinking|reasoning|chain_of_thought"
    r"|reasoning_content|thinking_trajector(y|ies)|reasoning_traces?|reasoning_steps)\W*$"
    r"|思维链|思考|推理过程"
)
"""Names of columns with thoughts: `Complex_CoT`, `reasoning (reasoning_content)`."""

TEXTS_OF_QUESTION = frozenset(
    {"passage", "document", "article", "paragraph", "options", "choices", "schema", "选项", "材料"}
)
"""Columns that belong to a question: without them it is another question."""

LIKELY: Mapping[str, str] = {
    "query": (
        r"quest|query|prompt|problem|instruct|^ask|^input|^user|^human|^q$|dialog|document|article"
        r"|patient|source_text|问|题|输入|指令|用户|原文"
    ),
    "response": (
        r"answer|respon|output|completion|solution|target|reply|summary|highlights|^sql|^code$"
        r"|assistant|^bot|^gpt|^tgt$|^a$|doctor|translat|答|回复|输出|译文|摘要"
    ),
    "reasoning_content": THOUGHTS,
    "input": r"context|passage|schema|^ddl|background|knowledge|options|choices|上下文",
    "system": r"^sys",
    "text": r"text|content|body|document|article|文本|内容|正文",
    "chosen": r"chosen|prefer|better|accept|^win|^good|positive|优|好",
    "rejected": r"reject|dispref|worse|^los|^bad|negative|差|坏",
}
"""What the name of a column looks like in small letters; compiled when a set is unknown."""

META = r"(^|_)(id|ids|type|len|length|source|count|score|model|name|lang|language)$"
"""Endings of names that describe a row: `cot_type`, `prompt_id`."""

ORIGINS = ("source", "src")
"""Names of a text to translate, which elsewhere say where a row comes from."""

STATEMENT = r"\s*(select|with|insert|update|delete|create)\b"

PAIRS = ("dpo", "orpo", "simpo", "cpo", "reward")

TEXT = ("text",)

NAMES: Mapping[str, tuple[str, ...]] = {
    "pair": ("chosen", "rejected", "query"),
    "answer": ("reasoning_content", "query", "response", "input", "system"),
    "grpo": ("query", "system"),
    "pt": TEXT,
    "classification": TEXT,
}
"""Our names in the order in which columns are given to them, for each kind of row."""

NEEDED: Mapping[str, tuple[str, ...]] = {
    "pair": ("query", "chosen", "rejected"),
    "answer": ("query", "response"),
    "grpo": ("query",),
    "pt": TEXT,
    "classification": TEXT,
}
"""Our names without which a row of each kind cannot be read."""

ASKED: Mapping[str, tuple[str, str]] = {
    "pair": (
        "which columns are the question and its two answers",
        "哪一列是问题、哪两列是回答",
    ),
    "answer": ("which column is the question and which the answer", "哪一列是问题、哪一列是回答"),
    "grpo": ("which column is the question", "哪一列是问题"),
    "pt": ("which column is the text", "哪一列是文本"),
    "classification": (
        "which column is the text and which the label",
        "哪一列是文本、哪一列是标签",
    ),
}
"""What is asked for rows of each kind."""

YAML_WORDS = frozenset(("yes", "no", "on", "off", "true", "false", "null"))
"""Words that YAML does not read as text."""

MOST_NAMES, MOST_LETTERS = 40, 60
"""Columns, and letters of a column's name, that a message shows."""

SHOWN_VALUE = 40
"""Characters of a value that are shown."""


def rivals(names: frozenset[str]) -> list[str]:
    """Return columns because of which a question and an answer must be asked for.

    Two questions or answers, thoughts under another name, or a text that belongs to the question.
    """
    unclear: list[str] = []
    for group in (QUESTIONS, (*ANSWERS, "solution")):
        present = [name for name in group if name in names]
        if len(present) > 1:
            unclear += present
    return unclear + [name for name in sorted(names) if needs_a_place(name)]


def needs_a_place(name: str) -> bool:
    """Return whether a column holds thoughts or a part of the question under another name."""
    plain = name.casefold()
    is_thought = bool(re.search(THOUGHTS, plain)) and name not in REASONING_COLUMNS
    return is_thought or plain in TEXTS_OF_QUESTION


def proposed_targets(rows: Sequence[Row], stage: str) -> dict[str, str]:
    """Return our name of each column that matters, or nothing where that is not clear."""
    lengths = {name: _mean_length(rows, name) for name in _columns(rows)}
    lengths = {name: length for name, length in lengths.items() if length}
    kind = kind_of_rows(stage)
    names, needed = NAMES[kind], NEEDED[kind]
    targets = _by_name(lengths, names)
    if is_sql(rows, "query") and "response" not in targets.values():
        without = {name: length for name, length in lengths.items() if name != "query"}
        targets = {**_by_name(without, names), "query": "response"}
    described = [column for column in _columns(rows) if not _is_meta(column)]
    are_texts = len(described) == 2 and all(
        column in lengths and not _is_worse(column) for column in described
    )
    if not targets and are_texts and kind == "answer":
        targets = dict(zip(described, ("query", "response"), strict=True))
    without_text = [column for column in _columns(rows) if column not in lengths]
    targets = _with_the_rest(targets, needed, lengths, without_text)
    in_order = {column: targets[column] for column in lengths if column in targets}
    return in_order if set(needed) <= set(in_order.values()) else {}


def kind_of_rows(stage: str) -> str:
    """Return the kind of rows that a stage reads: the key of the tables above."""
    if stage in NEEDED:
        return stage
    return "pair" if stage in PAIRS else "answer"


def _with_the_rest(
    targets: dict[str, str],
    needed: Sequence[str],
    lengths: Mapping[str, float],
    without_text: Iterable[str],
) -> dict[str, str]:
    """Return targets where the only name that is missing is given to the only text left.

    Not where a column `without_text` has such a name: an object with answers is the answer.
    """
    missing = set(needed) - set(targets.values())
    if not (targets or needed == TEXT) or len(missing) != 1:
        return targets
    if any(
        re.search(LIKELY[name], column.casefold())
        for name in missing & LIKELY.keys()
        for column in without_text
    ):
        return targets
    if missing == {"query"} and "input" in targets.values():
        return {column: "query" if name == "input" else name for column, name in targets.items()}
    unnamed = [column for column in lengths if column not in targets]
    left = [column for column in unnamed if not _is_meta(column) or column.casefold() in ORIGINS]
    return {**targets, left[0]: missing.pop()} if len(left) == 1 else targets


def is_sql(rows: Sequence[Row], column: str) -> bool:
    """Return whether a column holds statements of SQL: then a `query` is an answer."""
    values = [row.get(column) for row in rows]
    return all(
        isinstance(value, str) and re.match(STATEMENT, value, re.IGNORECASE) for value in values
    )


def _by_name(texts: Mapping[str, float], names: Sequence[str]) -> dict[str, str]:
    """Give each of our names the column that looks like it, the longest text if several do."""
    targets: dict[str, str] = {}
    for name in names:
        matching = [
            column
            for column in texts
            if column not in targets
            and re.search(LIKELY[name], column.casefold())
            and not _is_meta(column)
        ]
        if name == "response":
            worse = [column for column in matching if _is_worse(column)]
            targets |= dict.fromkeys(worse, UNUSED)
            matching = [column for column in matching if column not in worse]
        if not matching:
            continue
        best = _best(matching, texts, name)
        targets[best] = name
        for column in matching:
            if column != best:
                is_context = name == "query" and column.casefold() in CONTEXTS
                targets[column] = "input" if is_context else UNUSED
    return targets


def _is_worse(column: str) -> bool:
    """Return whether a column is named as the worse of two answers: nobody learns to give it."""
    return bool(re.search(LIKELY["rejected"], column.casefold()))


def _is_meta(column: str) -> bool:
    return bool(re.search(META, column.casefold()))


def _best(matching: Sequence[str], texts: Mapping[str, float], name: str) -> str:
    """Return the column that is spelled like ours, else the one with the longest texts.

    Of several answers the longest is the whole one: `solution` before a final `answer`.
    """
    if name == "query":
        for spelling in (*QUESTIONS, "instruction"):
            for column in matching:
                if column.casefold() == spelling:
                    return column
    return max(matching, key=lambda column: texts[column])


def _columns(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _mean_length(rows: Sequence[Row], column: str) -> float:
    """Return the mean length of the texts of a column; 0 if it holds something else."""
    values = [row.get(column) for row in rows if row.get(column) is not None]
    if not values or not all(isinstance(value, str) and value.strip() for value in values):
        return 0.0
    return sum(len(value) for value in values if isinstance(value, str)) / len(values)


def as_columns(targets: Mapping[str, str]) -> str:
    """Return targets as the YAML of `columns`: `{Question: query, Response: response}`."""
    pairs = [f"{_quoted(column)}: {name}" for column, name in targets.items()]
    return f"{{{', '.join(pairs)}}}"


def _quoted(column: str) -> str:
    """Return a column's name as a key of YAML."""
    is_plain = (
        re.fullmatch(r"[^\W\d][\w ]*\w|[^\W\d]", column) and column.casefold() not in YAML_WORDS
    )
    return column if is_plain else json.dumps(column, ensure_ascii=printable(column) != column)


def listed_columns(columns: Iterable[str]) -> str:
    """Return the names of columns as a message shows them."""
    names = [column[:MOST_LETTERS] for column in columns]
    more = ["..."] if len(names) > MOST_NAMES else []
    return ", ".join(names[:MOST_NAMES] + more) or "-"


def shown_values(rows: Sequence[Row]) -> list[str]:
    """Return a line for each column: its name and its first two values, shortened."""
    return [
        f"  {printable(column[:MOST_LETTERS])}: "
        + " | ".join(_shown(row.get(column)) for row in rows[:2])
        for column in _columns(rows)
    ]


def _shown(value: Any) -> str:
    shown = " ".join(printable(str(value)).split())
    return shown if len(shown) <= SHOWN_VALUE else shown[: SHOWN_VALUE - 3] + "..."
