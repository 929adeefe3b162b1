"""scripts/bench: every verb names a module with options and a run."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    loader = SourceFileLoader("bench", str(SCRIPTS / "bench"))
    spec = spec_from_loader("bench", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_verb_names_a_module_with_options_and_a_run(bench: ModuleType) -> None:
    for verb, (name, summary) in bench.VERBS.items():
        tree = ast.parse((SCRIPTS / f"{name}.py").read_text("utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {"arguments", "run"} <= functions, verb
        assert summary, verb


def test_help_lists_the_verbs_and_a_verb_has_options(bench: ModuleType) -> None:
    def shown(*arguments: str) -> str:
        command = [sys.executable, str(SCRIPTS / "bench"), *arguments, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    everything = shown()
    assert all(f"  {verb} " in everything for verb in bench.VERBS)
    assert "--minutes" in shown("gpu")
    assert "--against" in shown("start")
