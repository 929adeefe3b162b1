"""The report files of an evaluation: report.json for programs, report.html for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox import __version__
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.jobs import Job
from swiftbox.evaluation.report import summary
from swiftbox.files import write_atomic, write_json
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_record

REPORT, PAGE = "report.json", "report.html"

NOT_REPORTED = ("version", "task", "output_dir")
"""Settings without influence on the measurement."""


@dataclass(frozen=True)
class ReportContent:
    """What an evaluation measured besides its jobs."""

    candidates: Sequence[Candidate]
    """The first one is the baseline."""
    seconds: float
    own_rows: Mapping[str, Any] | None = None
    """What was found on the user's own rows."""
    answers: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """The answers to them with their scores, by candidate."""
    rows_left_out: str = ""
    """Why held-out rows are not measured; empty if they are, or if there are none."""


def write_report(
    config: EvaluateConfig, jobs: Sequence[Job], folder: Path, measured: ReportContent
) -> dict[str, Any]:
    """Write both files; return the summary that a terminal shows."""
    from swiftbox.evaluation.page import page

    results = {(job.candidate.name, job.benchmark.name): job.read_result() for job in jobs}
    benchmarks = list({job.benchmark.name: job.benchmark for job in jobs}.values())
    findings = summary(measured.candidates, benchmarks, results)
    if measured.rows_left_out:
        findings["remarks"] = [measured.rows_left_out, *findings["remarks"]]
    if measured.own_rows is not None:
        findings["own_rows"] = measured.own_rows
        findings["remarks"] = [*measured.own_rows["remarks"], *findings["remarks"]]
    report = {
        "version": 1,
        "swiftbox": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "seconds": measured.seconds,
        "settings": config.model_dump(mode="json", exclude=set(NOT_REPORTED)),
        "machine": _machine(folder),
        **findings,
        "results": {
            f"{name}/{benchmark}": str(job.result.relative_to(folder))
            for job in jobs
            for name, benchmark in [(job.candidate.name, job.benchmark.name)]
        },
    }
    write_json(folder / REPORT, report)
    write_atomic(folder / PAGE, page(report, results, measured.answers))
    return findings


def _machine(folder: Path) -> Mapping[str, Any]:
    machine = read_record(folder / run_folder.MACHINE)
    devices = [str(device.get("name")) for device in machine.get("devices", [])]
    return {
        "backend": machine.get("backend"),
        "devices": devices,
        "cores": machine.get("cores"),
        "versions": read_record(folder / run_folder.VERSIONS),
    }
