"""Columns of published datasets that are none of our formats: which of our columns each is.

Each row is a set whose columns cannot mean anything else; whatever could is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swiftbox.data.column_names import plain_spelling

ANY = "*"
"""The stage of shapes that are the same for every stage."""


@dataclass(frozen=True)
class Shape:
    """The columns that a dataset has at least, and our name of each; `optional` ones may lack."""

    datasets: str
    stages: tuple[str, ...]
    columns: Mapping[str, str]
    optional: Mapping[str, str]
    alone: tuple[str, ...] = ()
    """Further columns that a row may have; empty: any."""

    def renames(self, columns: frozenset[str], stage: str) -> dict[str, str] | None:
        """Return our name of each column of a row; None for rows of another shape."""
        if stage not in self.stages and ANY not in self.stages:
            return None
        if not columns.issuperset(self.columns):
            return None
        if self.alone and not columns <= {*self.columns, *self.alone}:
            return None
        present = {column: name for column, name in self.optional.items() if column in columns}
        renames = {**self.columns, **present}
        unchanged = columns - renames.keys()
        is_unique = len(set(renames.values())) == len(renames)
        return renames if is_unique and unchanged.isdisjoint(renames.values()) else None


SFT = ("sft", "gkd")
PAIRED = ("dpo", "orpo", "simpo", "cpo", "reward", "kto")
"""Stages that learn from pairs; for kto a pair is a desirable and an undesirable answer."""


def _answered(datasets: str, columns: Mapping[str, str], **optional: str) -> Shape:
    return Shape(datasets, SFT, columns, optional)


SHAPES = (
    Shape("XTuner, DISC-Med, LMSYS, MOSS", (ANY,), {"conversation": "conversations"}, {}),
    Shape("a text in content", ("pt",), {"content": "text"}, {}),
    Shape("UltraChat", SFT, {"data": "conversations"}, {}, ("id",)),
    _answered(
        "dolly, UltraInteract",
        {"instruction": "instruction", "response": "output"},
        context="input",
        input="input",
    ),
    _answered("instruction, answer", {"instruction": "instruction", "answer": "output"}),
    _answered("instruction, completion", {"instruction": "instruction", "completion": "output"}),
    _answered("firefly", {"input": "query", "target": "response"}),
    _answered(
        "natural-instructions",
        {"definition": "instruction", "inputs": "input", "targets": "output"},
    ),
    _answered("Aya, FLAN, xP3", {"inputs": "query", "targets": "response"}),
    _answered("DISC-Law", {"input": "query", "output": "response"}),
    _answered("input, response", {"input": "query", "response": "response"}),
    _answered("input, answer", {"input": "query", "answer": "response"}),
    _answered(
        "Chinese-DeepSeek-R1-Distill",
        {"input": "query", "content": "response", "reasoning_content": "reasoning_content"},
    ),
    _answered("Magicoder", {"problem": "query", "solution": "response"}),
    _answered("question, solution", {"question": "query", "solution": "response"}),
    _answered("AdvertiseGen", {"content": "query", "summary": "response"}),
    _answered(
        "synthetic_text_to_sql",
        {"sql_prompt": "query", "sql": "response"},
        sql_context="input",
    ),
    *(
        _answered(
            f"text-to-SQL with {schema}",
            {question: "query", schema: "input", "sql": "response"},
        )
        for question in ("question", "prompt", "instruction", "query")
        for schema in ("schema", "context", "create_table", "ddl", "db_schema", "table_schema")
    ),
    _answered("mental_health_counseling", {"context": "query", "response": "response"}),
    _answered("cMedQA, Chinese-medical-dialogue", {"ask": "query", "answer": "response"}),
    _answered("ai-medical-chatbot", {"patient": "query", "doctor": "response"}),
    _answered("user, assistant", {"user": "query", "assistant": "response"}),
    _answered("human, assistant", {"human": "query", "assistant": "response"}),
    _answered("human, gpt", {"human": "query", "gpt": "response"}),
    _answered("human, bot", {"human": "query", "bot": "response"}),
    _answered("q, a", {"q": "query", "a": "response"}),
    Shape(
        "stack-exchange-paired",
        PAIRED,
        {"question": "question", "response_j": "chosen", "response_k": "rejected"},
        {},
    ),
    *(
        Shape(datasets, ("classification",), columns, {})
        for datasets, columns in (
            (
                "STS-B",
                {"sentence1": "sentence1", "sentence2": "sentence2", "score": "label"},
            ),
            ("Banking77, CLINC150", {"text": "text", "intent": "label"}),
            ("a text and its category", {"text": "text", "category": "label"}),
            ("a text and its class", {"text": "text", "class": "label"}),
            ("a text and its sentiment", {"text": "text", "sentiment": "label"}),
            ("IMDB as published on Kaggle", {"review": "text", "sentiment": "label"}),
            ("reviews with a label", {"review": "text", "label": "label"}),
            ("contents with a label", {"content": "text", "label": "label"}),
        )
    ),
    *(
        Shape(
            f"{chosen}, {rejected}",
            PAIRED,
            {chosen: "chosen", rejected: "rejected"},
            {},
        )
        for chosen, rejected in (
            ("chosen_response", "rejected_response"),
            ("response_chosen", "response_rejected"),
            ("chosen_answer", "rejected_answer"),
        )
    ),
)
"""The first shape of which a row has all columns; names in small letters."""

SHAPED = frozenset(column for shape in SHAPES for column in (*shape.columns, *shape.optional))
"""All columns of the table."""


def shape_renames(columns: frozenset[str], stage: str) -> dict[str, str]:
    """Return our name of each column of a published dataset; empty for columns of no shape.

    Empty as well where two spellings of a column could be meant.
    """
    spellings: dict[str, list[str]] = {}
    for column in columns:
        spellings.setdefault(plain_spelling(column), []).append(column)
    names = frozenset(spellings)
    for shape in SHAPES:
        renames = shape.renames(names, stage)
        if renames is not None:
            is_clear = all(len(spellings[name]) == 1 for name in renames)
            return {spellings[name][0]: ours for name, ours in renames.items()} if is_clear else {}
    return {}
