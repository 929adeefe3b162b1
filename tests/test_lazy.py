"""What is not used is not loaded: tables of rows by name, versions without metadata, `check`."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from swiftbox.devices.packages import version_of
from swiftbox.lazy import Table


def test_a_row_is_built_once_and_on_first_use() -> None:
    built: list[str] = []

    def build(name: str) -> str:
        built.append(name)
        return name.upper()

    table = Table({"a": lambda: build("a"), "b": lambda: build("b")})
    assert list(table) == ["a", "b"]
    assert "a" in table
    assert len(table) == 2
    assert built == []
    assert table["a"] == table["a"] == "A"
    assert built == ["a"]
    assert dict(table) == {"a": "A", "b": "B"}
    with pytest.raises(KeyError):
        table["c"]


@pytest.mark.parametrize("name", ["torch", "huggingface-hub", "Huggingface_Hub", "pydantic"])
def test_versions_are_those_that_the_metadata_names(name: str) -> None:
    assert version_of(name) == importlib.metadata.version(name)


def test_versions_are_read_from_names_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Some.Thing-1.2+cpu.dist-info", "old-0.3-py3.11.egg-info", "no.dist-info"):
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert version_of("some-thing") == "1.2+cpu"
    assert version_of("old") == "0.3"
    assert version_of("no") is None


def test_a_quantization_loads_no_planner_of_trainings() -> None:
    code = "import sys, swiftbox.tasks.quantize; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"swiftbox.fit.planner", "swiftbox.fit.step_time"} & set(result.stdout.split())


NEEDLESS = ("psutil", "urllib.request", "packaging.requirements", "torch", "rich", "questionary")


def test_a_check_loads_only_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "hello"}\n')
    (tmp_path / "a.yaml").write_text("stage: pt\nmodel: Qwen/Qwen2.5-72B\ndataset: a.jsonl\n")
    code = (
        "import json, sys\n"
        "from swiftbox.cli.main import main\n"
        "code = main(['check', 'a.yaml'])\n"
        "print(json.dumps([code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    exit_code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert exit_code == 0
    assert "swiftbox.methods.pt" in loaded
    others = ("swiftbox.methods.dpo", "swiftbox.tasks.merge", "swiftbox.tasks.pipeline.task")
    others += ("swiftbox.engines.install", "swiftbox.tasks.download")
    assert not {*NEEDLESS, *others} & set(loaded)
