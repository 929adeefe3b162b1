"""Processor seconds of tests and their children, by folder and file, for `scripts/test --times`.

Wall-clock time depends on what else a machine does, and on how many workers share its cores.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

VARIABLE = "SWIFTBOX_TEST_TIMES"
"""Set to print the table."""

FILES = 20
"""Files in the table."""


class Stopwatch:
    """The processor time of this process and its ended children since the last reading."""

    def __init__(self) -> None:
        self.read = processor_s()

    def lap(self) -> float:
        """Return the seconds since the last call."""
        before, self.read = self.read, processor_s()
        return self.read - before


def processor_s() -> float:
    """Return the processor seconds of this process and of the children that it waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def table(stats: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of the table from the reports of a test run."""
    files: Counter[str] = Counter()
    for report in (report for reports in stats.values() for report in reports):
        files[getattr(report, "nodeid", "").partition("::")[0]] += getattr(report, "processor_s", 0)
    folders: Counter[str] = Counter()
    for name, seconds in files.items():
        folders["/".join(name.split("/")[:2])] += seconds
    yield f"all: {sum(files.values()):.0f} s"
    for counts, most in ((folders, None), (files, FILES)):
        yield from (f"{seconds:8.1f} s  {name}" for name, seconds in _largest(counts, most))


def _largest(counts: Counter[str], most: int | None) -> Iterable[tuple[str, float]]:
    return [(name, seconds) for name, seconds in counts.most_common(most) if seconds >= 1]
