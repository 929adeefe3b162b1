"""The files that an evaluation of own rows keeps in its run folder, so that nothing is done twice.

`rows.json` holds the rows that were chosen; each set of weights has its prompts in tokens, each
candidate its losses, its answers and the verdicts on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swiftbox.data.example import Example, Turn
from swiftbox.evaluation.candidates import Candidate
from swiftbox.files import read_json

FOLDER = "own_rows"
"""In the run folder."""


@dataclass(frozen=True)
class RowFiles:
    """Where the rows, prompts, losses, answers and verdicts of a run are."""

    run: Path

    @property
    def folder(self) -> Path:
        """Return the folder of all of them."""
        return self.run / FOLDER

    @property
    def rows(self) -> Path:
        """Return the file of the rows."""
        return self.folder / "rows.json"

    def prompts(self, model: str) -> Path:
        """Return the file of the prompts in tokens for a set of weights."""
        name = hashlib.sha256(model.encode()).hexdigest()[:16]
        return self.folder / "prompts" / f"{name}.json"

    def losses(self, candidate: Candidate) -> Path:
        """Return the file of the losses of a candidate."""
        return self.folder / "losses" / f"{candidate.slug}.json"

    def answers(self, candidate: Candidate) -> Path:
        """Return the file of the answers of a candidate, one per line as they arrive."""
        return self.folder / "answers" / f"{candidate.slug}.jsonl"

    def verdicts(self, candidate: Candidate) -> Path:
        """Return the file of the verdicts on a candidate against the baseline, one per line."""
        return self.folder / "verdicts" / f"{candidate.slug}.jsonl"

    def result(self, candidate: Candidate) -> Path:
        """Return the file of the scores of a candidate, row by row."""
        return self.folder / "scores" / f"{candidate.slug}.json"


@dataclass(frozen=True)
class ChosenRow:
    """A row of the user: where it stands, its conversation, and its answer as text."""

    id: str
    """File and line."""
    expected: str
    """The text of the last answer; empty if the row has none."""
    messages: Sequence[Mapping[str, Any]] = ()
    """The turns before that answer, as chat templates take them."""
    tools: Sequence[Any] = ()


@dataclass(frozen=True)
class ChosenRows:
    """The rows of an evaluation, and how many were left out or cut."""

    rows: Sequence[ChosenRow]
    cut: int = 0
    """Rows whose end is not measured, because they are longer than max_length."""
    left_out: int = 0
    """Rows that are bad, or have nothing to measure within max_length."""

    @staticmethod
    def read(path: Path) -> ChosenRows | None:
        """Return the rows of a file; None if there is none."""
        content = read_json(path)
        if "rows" not in content:
            return None
        keys = ("id", "expected", "messages", "tools")
        rows = [ChosenRow(**{key: row[key] for key in keys}) for row in content["rows"]]
        return ChosenRows(rows, content["cut"], content["left_out"])


def as_plain(example: Example) -> dict[str, Any]:
    """Return a conversation as JSON."""
    return {"messages": [asdict(turn) for turn in example.messages], "tools": list(example.tools)}


def conversation_of(plain: Mapping[str, Any]) -> Example:
    """Return the conversation that `as_plain` wrote."""
    turns = [
        Turn(
            turn["role"],
            turn["content"],
            tuple(turn["tool_calls"]),
            tuple((key, value) for key, value in turn["extra"]),
            turn["weight"],
        )
        for turn in plain["messages"]
    ]
    return Example(tuple(turns), tuple(plain["tools"]))
