"""What failed in a test run, and the line that runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def failed_tests(stats: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the ids of failed tests, and the files that could not be imported."""
    reports = [*stats.get("failed", ()), *stats.get("error", ())]
    return list(dict.fromkeys(report.nodeid for report in reports))


def rerun_command(node_ids: Iterable[str]) -> str:
    """Return the command that runs these tests."""
    quoted = " ".join(shlex.quote(node_id) for node_id in node_ids)
    return f"python -m pytest {quoted}"
