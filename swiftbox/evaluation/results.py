"""What is kept of each model and benchmark in the run folder, so that nothing is asked twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.evaluation.benchmarks import Asked
from swiftbox.evaluation.candidates import Candidate
from swiftbox.files import read_json

RESULTS, WORK = "results", "asked"
"""In the run folder: whole results, and what the tool itself keeps while it asks."""


@dataclass(frozen=True)
class Job:
    """One candidate asked one benchmark."""

    candidate: Candidate
    asked: Asked
    folder: Path
    """Of the run."""

    @property
    def result(self) -> Path:
        """Return the file of its result; there only when it is whole."""
        return self.folder / RESULTS / self.candidate.slug / f"{self.asked.name}.json"

    @property
    def work(self) -> Path:
        """Return the folder that the tool keeps its answers in."""
        return self.folder / WORK / self.candidate.slug / self.asked.name

    @property
    def is_done(self) -> bool:
        """Tell whether its result is there."""
        return bool(self.found().get("samples"))

    def found(self) -> dict[str, Any]:
        """Return its result; empty where there is none."""
        return read_json(self.result)


def jobs(candidates: Sequence[Candidate], asked: Sequence[Asked], folder: Path) -> list[Job]:
    """Return all that is to be asked, candidate by candidate."""
    return [Job(one, benchmark, folder) for one in candidates for benchmark in asked]
