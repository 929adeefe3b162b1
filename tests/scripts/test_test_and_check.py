"""scripts/test, scripts/check and .ci/run: what they start, and that a failure is not lost."""

from __future__ import annotations

import subprocess
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
def test_check_goes_on_after_a_failure_and_ends_with_it(
    ready: Checkout, tool: str, name: str
) -> None:
    outcome = ready.run("scripts/check", SWIFTBOX_VENV=str(ready.venv), FAIL=tool)
    assert outcome.code == 1
    assert verdicts(outcome.out) == {**dict.fromkeys(TOOLS, "ok"), name: "FAILED"}
    assert outcome.talk.splitlines()[-1] == f"error: failed: {name}"


def test_test_begins_with_check_and_leaves_out_gpu_and_network_tests(ready: Checkout) -> None:
    outcome = ready.run("scripts/test", SWIFTBOX_VENV=str(ready.venv))
    assert outcome.code == 0, outcome.talk
    assert verdicts(outcome.out) == dict.fromkeys(TOOLS, "ok")
    assert outcome.out.splitlines()[-1].startswith("pytest ")
    assert outcome.out.splitlines()[-1].endswith("-m not gpu and not network")


def test_fast_leaves_out_slow_tests_and_arguments_reach_pytest(ready: Checkout) -> None:
    outcome = ready.run("scripts/test", "--fast", "-k", "a b", SWIFTBOX_VENV=str(ready.venv))
    assert outcome.out.endswith("-m not gpu and not network and not slow -k a b\n")
    assert verdicts(outcome.out) == {}


@pytest.mark.parametrize("tool", ["ruff", "pytest"])
def test_test_fails_when_check_or_pytest_does(ready: Checkout, tool: str) -> None:
    outcome = ready.run("scripts/test", SWIFTBOX_VENV=str(ready.venv), FAIL=tool)
    assert outcome.code == 1
    assert "pytest -n" in outcome.out, "the tests run all the same"


@pytest.mark.slow
def test_ci_tests_in_a_fresh_environment_and_removes_it(checkout: Checkout, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = fake_tools(tmp_path / "tools", git="exit 0", tmux="exit 0", apt_get="exit 9")
    outcome = checkout.run(".ci/run", TMPDIR=str(temporary), PATH=path)
    assert outcome.code == 0, outcome.talk
    assert f"Set up in {temporary}/" in outcome.talk
    assert list(temporary.iterdir()) == []
    assert not checkout.venv.exists()


@pytest.mark.parametrize(
    "script", ["quickstart", "setup.sh", "yichuidingyin.sh", "test", "check", "../.ci/run"]
)
def test_every_script_parses(script: str) -> None:
    done = subprocess.run(["bash", "-n", str(REPOSITORY / "scripts" / script)], check=False)
    assert done.returncode == 0
