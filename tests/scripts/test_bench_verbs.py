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


def test_scripts_import_of_each_other_what_is_there() -> None:
    """Modules are imported when their verb is called: a name that moved would be seen only then."""
    trees = {path.stem: ast.parse(path.read_text("utf-8")) for path in SCRIPTS.glob("*.py")}
    trees |= {
        f"gpu.{path.stem}": ast.parse(path.read_text("utf-8")) for path in SCRIPTS.glob("gpu/*.py")
    }
    missing = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module.startswith(("bench_", "served_", "serving_", "gpu.")):
                names = _names_of(trees.get(node.module))
                missing += [
                    f"{name}: {node.module}.{part.name}"
                    for part in node.names
                    if part.name not in names
                ]
    assert missing == []


def _names_of(tree: ast.Module | None) -> set[str]:
    """Return the names that a module has at its top; none of a module that does not exist."""
    names: set[str] = set()
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                part.id
                for target in targets
                for part in ast.walk(target)
                if isinstance(part, ast.Name)
            }
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part.asname or part.name for part in node.names}
    return names


def test_help_lists_the_verbs_and_a_verb_has_options(bench: ModuleType) -> None:
    def shown(*arguments: str) -> str:
        command = [sys.executable, str(SCRIPTS / "bench"), *arguments, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    everything = shown()
    assert all(f"  {verb} " in everything for verb in bench.VERBS)
    assert "--minutes" in shown("gpu")
    assert "--against" in shown("start")
