"""The report in the run folder: report.json for programs, report.html for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox import __version__
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.evaluation.report import summary
from swiftbox.evaluation.results import Job
from swiftbox.files import read_json, write_atomic, write_json
from swiftbox.runs import folder as run_folder

REPORT, PAGE = "report.json", "report.html"

NOT_SAID = ("version", "task", "output_dir")
"""Settings that say nothing of what was measured."""


def write_report(
    config: EvaluateConfig, every: Sequence[Job], folder: Path, *, seconds: float
) -> dict[str, Any]:
    """Write both files; return what the table in a terminal shows."""
    from swiftbox.evaluation.page import page

    results = {(one.candidate.name, one.asked.name): one.found() for one in every}
    candidates = list({one.candidate.name: one.candidate for one in every}.values())
    asked = list({one.asked.name: one.asked for one in every}.values())
    found = summary(candidates, asked, results)
    whole = {
        "version": 1,
        "swiftbox": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "seconds": seconds,
        "settings": config.model_dump(mode="json", exclude=set(NOT_SAID)),
        "machine": _machine(folder),
        **found,
        "results": {
            f"{name}/{benchmark}": str(one.result.relative_to(folder))
            for one in every
            for name, benchmark in [(one.candidate.name, one.asked.name)]
        },
    }
    write_json(folder / REPORT, whole)
    write_atomic(folder / PAGE, page(whole, results))
    return found


def _machine(folder: Path) -> Mapping[str, Any]:
    said = read_json(folder / run_folder.MACHINE)
    devices = [str(one.get("name")) for one in said.get("devices", [])]
    return {
        "backend": said.get("backend"),
        "devices": devices,
        "cores": said.get("cores"),
        "versions": read_json(folder / run_folder.VERSIONS),
    }
