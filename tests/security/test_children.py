"""Child processes: their command, their environment, and that nothing starts them otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from box import HANG_S
from child_laws import GETS_ENVIRONMENT, MAY_NAME_OUR_PYTHON, child_violations
from house_laws import PACKAGE, python_files

from swiftbox.engines.process_group import ProcessGroup
from swiftbox.runs.command import worker_command
from swiftbox.security.children import (
    child_environment,
    find_program,
    module_command,
    source_command,
    with_safe_paths,
)
from swiftbox.security.search_path import drop_current_folder, drop_relative_entries

SHOW = "import json, os, sys; print(json.dumps({'path': sys.path, 'env': dict(os.environ)}))"


def test_all_children_are_made_by_the_constructors() -> None:
    for path in python_files():
        relative = path.relative_to(PACKAGE).as_posix()
        assert child_violations(relative, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nCOMMAND = [sys.executable, '-m', 'swiftbox.worker']\n",
        "def f():\n    subprocess.run(['python', '-m', 'x'])\n",
        "def f():\n    subprocess.Popen(['git'], env={**os.environ, 'A': '1'})\n",
        "def f():\n    os.system('ls')\n",
        "def f():\n    os.execv('/bin/ls', ['ls'])\n",
        "def f():\n    return shutil.which('curl')\n",
        "def f():\n    subprocess.run('ls', shell=True, env=child_environment())\n",
        "def f(p):\n    ProcessGroup(p, ['x.py'], os.environ, print)\n",
    ],
)
def test_a_child_that_is_started_otherwise_is_seen(source: str) -> None:
    assert child_violations("planted.py", source)


def test_the_exceptions_of_the_law_exist() -> None:
    for path in (*MAY_NAME_OUR_PYTHON, *GETS_ENVIRONMENT):
        assert (PACKAGE / path).is_file(), path


def test_every_python_child_ignores_the_current_folder() -> None:
    for command in (
        module_command("swiftbox.worker", "x"),
        source_command("pass"),
        worker_command("runs/x", 1),
        worker_command("runs/x", 2),
    ):
        assert command[:2] == [sys.executable, "-P"]


def test_a_child_has_no_empty_and_no_relative_search_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('trap')\n")
    for name in ("PYTHONPATH", "PATH", "LD_LIBRARY_PATH"):
        usual = os.environ.get(name, "")
        monkeypatch.setenv(name, os.pathsep.join(["", ".", "lib", *usual.split(os.pathsep), ""]))
    monkeypatch.setenv("PYTHONSTARTUP", "start.py")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    done = subprocess.run(
        source_command(SHOW),
        env=child_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_S,
    )
    shown = json.loads(done.stdout)
    assert str(tmp_path) not in shown["path"]
    assert shown["env"]["PYTHONSAFEPATH"] == "1"
    assert {"PYTHONSTARTUP", "PYTHONINSPECT"}.isdisjoint(shown["env"])
    for name in ("PYTHONPATH", "PATH", "LD_LIBRARY_PATH"):
        entries = shown["env"].get(name, "/").split(os.pathsep)
        assert all(os.path.isabs(entry) for entry in entries)


def test_processes_that_a_child_starts_ignore_the_current_folder_too(tmp_path: Path) -> None:
    (tmp_path / "multiprocessing.py").write_text("open('trapped', 'w')\n")
    (tmp_path / "json.py").write_text("open('trapped', 'w')\n")
    grandchild = (
        "import subprocess, sys\n"
        "from multiprocessing import get_context\n"
        "if __name__ == '__main__':\n"
        "    subprocess.run([sys.executable, '-m', 'json.tool', '--help'], check=True)\n"
        "    process = get_context('spawn').Process(target=print)\n"
        "    process.start(); process.join(); sys.exit(process.exitcode)\n"
    )
    script = tmp_path / "elsewhere" / "start.py"
    script.parent.mkdir()
    script.write_text(grandchild)
    command = [sys.executable, "-P", str(script)]
    done = subprocess.run(
        command, env=child_environment(), cwd=tmp_path, check=False, timeout=HANG_S
    )
    assert done.returncode == 0
    assert not (tmp_path / "trapped").exists()


def test_an_engine_imports_nothing_from_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("open('trapped', 'w')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    script = tmp_path / "tool.py"
    script.write_text("import json, threading\nprint(json.dumps([1]))\n")
    lines: list[str] = []
    process = ProcessGroup(
        Path(sys.executable),
        [str(script)],
        child_environment(),
        lambda _, line: lines.append(line),
        folder=tmp_path,
    )
    assert process.run() == 0
    assert lines == ["[1]"]
    assert not (tmp_path / "trapped").exists()


def test_a_program_of_the_current_folder_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi-of-a-stranger"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", os.environ["PATH"]]))
    assert find_program(program.name) is None
    assert find_program("sh") is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program(program.name) == str(program)


def test_an_editor_keeps_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("PATH", f".{os.pathsep}/usr/bin")
    environment = with_safe_paths(os.environ)
    assert environment["SSH_AUTH_SOCK"] == "/run/agent"
    assert environment["PATH"] == "/usr/bin"


def test_an_empty_entry_of_pythonpath_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/somewhere")
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/somewhere", *sys.path])
    drop_relative_entries()
    assert str(tmp_path) not in sys.path
    assert "/somewhere" in sys.path


def test_a_checkout_that_is_not_installed_works_from_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = str(PACKAGE.parent)
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "swiftbox", "check"])
    monkeypatch.setattr(sys, "path", [root, *(entry for entry in sys.path if entry != root)])
    monkeypatch.setattr(sys, "meta_path", [])
    drop_current_folder()
    assert sys.path[0] != root
    assert sys.path[-1] == root
    assert child_environment()["PYTHONPATH"] == os.pathsep.join(["/somewhere", root])


@pytest.mark.parametrize("command", [["pytest"], ["python", "-m", "other", "swiftbox"]])
def test_another_program_that_imports_swiftbox_keeps_its_search_path(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", command)
    monkeypatch.setattr(sys, "argv", command[1:2] or command)
    before = list(sys.path)
    drop_current_folder()
    assert sys.path == before
