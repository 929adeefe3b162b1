"""The table of `scripts/test --times`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from processor_times import Stopwatch, table


def report(test: str, seconds: float) -> Any:
    return SimpleNamespace(nodeid=f"tests/{test}::test_it", processor_s=seconds)


def test_the_times_of_all_phases_are_added_up_by_folder_and_file() -> None:
    stats = {
        "passed": [report("a/test_x.py", 2.0), report("a/test_y.py", 3.0)],
        "": [report("a/test_x.py", 5.0), report("b/test_z.py", 0.5)],
        "warnings": [SimpleNamespace(message="no test")],
    }
    assert list(table(stats)) == [
        "all: 10 s",
        "    10.0 s  tests/a",
        "     7.0 s  tests/a/test_x.py",
        "     3.0 s  tests/a/test_y.py",
    ]


def test_a_stopwatch_measures_each_second_once() -> None:
    watch = Stopwatch()
    sum(range(2_000_000))
    first, second = watch.lap(), watch.lap()
    assert first > second >= 0
