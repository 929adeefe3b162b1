"""Jobs of an evaluation and their results in the run folder, so that no job runs twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.evaluation.benchmarks import SelectedBenchmark
from swiftbox.evaluation.candidates import Candidate
from swiftbox.files import read_json

RESULTS, WORK = "results", "asked"
"""In the run folder: complete results, and the working files of the tool."""


@dataclass(frozen=True)
class Job:
    """The evaluation of one candidate on one benchmark."""

    candidate: Candidate
    benchmark: SelectedBenchmark
    folder: Path
    """The run folder."""

    @property
    def result(self) -> Path:
        """Return the file of its result, which exists only if it is complete."""
        return self.folder / RESULTS / self.candidate.slug / f"{self.benchmark.name}.json"

    @property
    def work(self) -> Path:
        """Return the working folder of the tool."""
        return self.folder / WORK / self.candidate.slug / self.benchmark.name

    @property
    def is_done(self) -> bool:
        """Tell whether it has a result."""
        return bool(self.read_result().get("samples"))

    def read_result(self) -> dict[str, Any]:
        """Return its result; empty if there is none."""
        return read_json(self.result)


def jobs(
    candidates: Sequence[Candidate], benchmarks: Sequence[SelectedBenchmark], folder: Path
) -> list[Job]:
    """Return all jobs, candidate by candidate."""
    return [
        Job(candidate, benchmark, folder) for candidate in candidates for benchmark in benchmarks
    ]
