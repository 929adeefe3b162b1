"""scripts/test, scripts/check and .ci/run: what they start, and that a failure is not lost."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_checkout import REPOSITORY, Checkout, fake_tools

TOOLS = ["ruff", "ruff-format", "mypy", "import-linter"]


def verdicts(out: str) -> dict[str, str]:
    """The result that scripts/check printed for each tool."""
    return {line.split()[0]: line.split()[1] for line in out.splitlines() if line.endswith(" s)")}


def test_check_runs_every_tool_and_passes_when_all_do(ready: Checkout) -> None:
    outcome = ready.run("scripts/check", SWIFTBOX_VENV=str(ready.venv))
    assert outcome.code == 0, outcome.talk
    assert verdicts(outcome.out) == dict.fromkeys(TOOLS, "ok")


@pytest.mark.parametrize(("tool", "name"), [("mypy", "mypy"), ("importlinter", "import-linter")])
def test_check_continues_after_a_failure_and_exits_with_it(
    ready: Checkout, tool: str, name: str
) -> None:
    outcome = ready.run("scripts/check", SWIFTBOX_VENV=str(ready.venv), FAIL=tool)
    assert outcome.code == 1
    assert verdicts(outcome.out) == {**dict.fromkeys(TOOLS, "ok"), name: "FAILED"}
    assert outcome.talk.splitlines()[-1] == f"error: failed: {name}"


def test_test_begins_with_the_processor_and_check_and_leaves_out_gpu_and_network_tests(
    ready: Checkout,
) -> None:
    outcome = ready.run("scripts/test", SWIFTBOX_VENV=str(ready.venv))
    assert outcome.code == 0, outcome.talk
    assert outcome.out.startswith("processor ")
    assert verdicts(outcome.out) == dict.fromkeys(TOOLS, "ok")
    assert outcome.out.splitlines()[-1].startswith("pytest ")
    assert outcome.out.splitlines()[-1].endswith("-m not gpu and not network")


def test_fast_leaves_out_slow_tests_and_arguments_reach_pytest(ready: Checkout) -> None:
    outcome = ready.run("scripts/test", "--fast", "-k", "a b", SWIFTBOX_VENV=str(ready.venv))
    assert outcome.out.endswith("-m not gpu and not network and not slow -k a b\n")
    assert verdicts(outcome.out) == {}


def test_test_installs_the_real_model_once_and_without_what_it_requires(ready: Checkout) -> None:
    ready.run("scripts/test", "-k", "a", SWIFTBOX_VENV=str(ready.venv))
    installed = sorted(ready.venv.glob("lib/python3*/site-packages/tiny_model*"))
    assert [path.name for path in installed] == ["tiny_model.py", "tiny_model-1.0.dist-info"][::-1]
    again = ready.run("scripts/test", "-k", "a", SWIFTBOX_VENV=str(ready.venv))
    assert again.code == 0, again.talk
    assert "Installing" not in again.talk


@pytest.mark.parametrize("tool", ["ruff", "pytest"])
def test_test_fails_when_check_or_pytest_does(ready: Checkout, tool: str) -> None:
    outcome = ready.run("scripts/test", SWIFTBOX_VENV=str(ready.venv), FAIL=tool)
    assert outcome.code == 1
    assert "pytest -n" in outcome.out, "the tests run all the same"
    last = outcome.talk.splitlines()[-1:]
    assert last == (["Also failed: bash scripts/check"] if tool == "ruff" else [])


def test_gpu_tests_do_not_pass_without_an_accelerator(ready: Checkout) -> None:
    outcome = ready.run("scripts/test", "--gpu", SWIFTBOX_VENV=str(ready.venv))
    assert outcome.code == 2
    assert "error: no accelerator" in outcome.talk
    assert "pytest" not in outcome.out


@pytest.mark.parametrize("variable", ["DEVICE", "SWIFTBOX_GPU_TESTS_ON"])
def test_gpu_tests_run_alone_and_in_one_process(ready: Checkout, variable: str) -> None:
    venv = {"SWIFTBOX_VENV": str(ready.venv), variable: "cpu"}
    outcome = ready.run("scripts/test", "--gpu", "-x", **venv)
    assert outcome.code == 0, outcome.talk
    assert verdicts(outcome.out) == {}
    assert outcome.out.endswith("pytest -p no:xdist -m gpu tests/gpu -x\n")


def test_a_named_python_is_used_as_it_is_and_nothing_is_installed(
    ready: Checkout, checkout: Checkout
) -> None:
    python = str(ready.venv / "bin/python")
    outcome = checkout.run("scripts/test", "-k", "a", SWIFTBOX_TEST_PYTHON=python)
    assert outcome.code == 0, outcome.talk
    assert outcome.out.splitlines()[-1].endswith("-k a")
    assert not checkout.venv.exists()
    missing = checkout.run("scripts/test", "-k", "a", SWIFTBOX_TEST_PYTHON="/no/such/python")
    assert missing.code == 2
    assert "no such program: /no/such/python" in missing.talk


@pytest.mark.slow
def test_a_run_ends_with_the_line_that_repeats_its_failures(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((REPOSITORY / "tests/conftest.py").read_text())
    source = "import pytest\n\n@pytest.mark.parametrize('a', ['x y', 'z'])\ndef test_a(a):\n"
    (tmp_path / "test_it.py").write_text(f"{source}    assert a == 'z'\n")
    (tmp_path / "test_import.py").write_text("import nowhere\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--rootdir", ".", "-c", os.devnull]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    (line,) = re.findall(r"^run again: (.*)$", done.stdout, re.MULTILINE)
    files = sorted(shlex.split(line.removeprefix("python -m pytest ")))
    assert files == ["test_import.py", "test_it.py::test_a[x y]"]


def test_another_python_gets_an_environment_without_torch(
    checkout: Checkout, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = 'case "$2" in *version_info*) exit 0 ;; *venv*) echo "$@"; exit 7 ;; esac'
    path = fake_tools(tmp_path / "tools", **{f"python{version}": python})
    outcome = checkout.run("scripts/test", "--python", version, TMPDIR=str(temporary), PATH=path)
    assert outcome.code == 7
    assert f"temporary environment for Python {version}, without torch" in outcome.talk
    assert f"-m venv {temporary}/" in outcome.out
    assert list(temporary.iterdir()) == [], "the environment is removed"
    assert not checkout.venv.exists()


def test_a_missing_python_is_refused(checkout: Checkout) -> None:
    outcome = checkout.run("scripts/test", "--python", "3.99")
    assert outcome.code == 2
    assert "no Python 3.99" in outcome.talk


@pytest.mark.slow
def test_ci_tests_in_a_fresh_environment_and_removes_it(checkout: Checkout, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = fake_tools(tmp_path / "tools", git="exit 0", tmux="exit 0", apt_get="exit 9")
    outcome = checkout.run(".ci/run", TMPDIR=str(temporary), PATH=path)
    assert outcome.code == 0, outcome.talk
    assert f"Ready in {temporary}/" in outcome.talk
    assert list(temporary.iterdir()) == []
    assert not checkout.venv.exists()


@pytest.mark.parametrize(
    "script", ["quickstart", "setup.sh", "yichuidingyin.sh", "test", "check", "../.ci/run"]
)
def test_every_script_parses(script: str) -> None:
    done = subprocess.run(["bash", "-n", str(REPOSITORY / "scripts" / script)], check=False)
    assert done.returncode == 0
