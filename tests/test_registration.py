"""Methods, tasks, engines and backends are registered in their tables."""

from __future__ import annotations

import csv

import pytest
from house_laws import PACKAGE, name_of, python_files
from registration_laws import declarations, unpaired, unregistered

from swiftbox.devices import backends
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines import ENGINES
from swiftbox.methods import METHODS
from swiftbox.tasks import TASKS

COMMON = {"__init__", "method", "pairs"}
"""Files of methods that are no method: the table, what a method is, what pairs have in common."""


@pytest.mark.parametrize(
    ("room", "kind"), [("methods", "Method"), ("tasks", "Task"), ("engines", "Engine")]
)
def test_every_method_task_and_engine_is_registered(room: str, kind: str) -> None:
    sources = {name_of(path): path.read_text("utf-8") for path in python_files(PACKAGE / room)}
    assert any(declarations(code, kind) for code in sources.values())
    assert unregistered(sources, kind, (PACKAGE / room / "__init__.py").read_text("utf-8")) == []


def test_every_method_file_is_a_method_of_that_name() -> None:
    files = {path.stem for path in (PACKAGE / "methods").glob("*.py")} - COMMON
    assert unpaired(files, METHODS) == []
    for name, method in METHODS.items():
        assert method.name == name
        assert method.config.model_fields["stage"].default == name


def test_every_task_and_engine_is_registered_under_its_name() -> None:
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}
    assert {name: engine.name for name, engine in ENGINES.items()} == {n: n for n in ENGINES}


def test_every_backend_of_the_table_is_registered() -> None:
    with backends.TABLE.open(encoding="utf-8", newline="") as file:
        assert unpaired((row["backend"] for row in csv.DictReader(file)), BACKENDS) == []


def test_what_is_not_registered_is_found() -> None:
    sources = {"a.py": "A = Method('a')\nB = Other()", "b.py": "B: Task[int] = make()"}
    assert unregistered(sources, "Method", "TABLE = {'b': 'b:B'}") == [("a.py", "A")]
    assert unregistered(sources, "Task", "TABLE = {'a': 'a:A'}") == [("b.py", "B")]
    assert unregistered(sources, "Method", "TABLE = {'a': 'a:A'}") == []
    assert unregistered(sources, "Task", "B = 1; TABLE = {}") == [("b.py", "B")]
    assert unregistered(sources, "Task", "TABLE = (B,)") == []
    assert unpaired(["cuda", "npu", "npu"], ["cuda", "mps"]) == ["mps", "npu"]
