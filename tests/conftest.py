"""Fixtures of all tests: a separate state folder, English, and tiny models made on the spot."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from asked_here import asked_here, share_answers
from processor.sitecustomize import simulate
from processor_times import VARIABLE, Stopwatch, table
from rerun import failed_tests, rerun_command
from template_trials import remember_template

from swiftbox.runs.asked_child import ChildQuestion
from swiftbox.runs.stop import STOP

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
simulate()


@pytest.fixture(autouse=True)
def _own_state(
    shared_home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the user's state, language and terminal out of the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SWIFTBOX_HOME", str(home))
    remember_template(home)
    share_answers(home, shared_home)
    monkeypatch.setenv("SWIFTBOX_LANG", "en")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A folder of answers of all tests and workers: a tiny model is loaded on trial once, here."""
    root = tmp_path_factory.getbasetemp()
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    (shared / "placements").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildQuestion, "_ask", asked_here)
        yield shared


def _load_on_trial(folder: Path, home: Path) -> Path:
    """Record the answer about a model, for children that would ask a child of theirs."""
    from swiftbox.models.inspection import inspect
    from swiftbox.models.trial_loading import trial_question

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIFTBOX_HOME", str(home))
        for score in (False, True):
            trial_question(inspect(folder), score=score).answer()
    return folder


@pytest.fixture(autouse=True)
def _no_stop_of_an_earlier_test() -> None:
    """Clear the stop events, which a run has once for its process and tests share."""
    STOP.requested.clear()
    STOP.can_save.clear()


@pytest.fixture(scope="session")
def tiny_models(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models, one per architecture, each with a ChatML tokenizer."""
    from tiny import ARCHITECTURES, build

    root = tmp_path_factory.mktemp("models")
    return {name: _load_on_trial(build(name, root / name), shared_home) for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def tiny(tiny_models: dict[str, Path]) -> Path:
    """The folder of a tiny random Qwen3 model."""
    return tiny_models["qwen3"]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, a real model: only for tests marked slow."""
    from smollm2 import smollm2_folder

    return smollm2_folder()


@pytest.fixture(scope="session")
def tiny_multimodal(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Qwen3.5: a hybrid decoder with a tower for pictures."""
    from tiny import build_multimodal

    folder = build_multimodal(tmp_path_factory.mktemp("models") / "qwen3_5")
    return _load_on_trial(folder, shared_home)


@pytest.fixture
def chat_file(tmp_path: Path) -> Path:
    """A jsonl of forty short conversations of uneven length."""
    from tiny import write_chats

    return write_chats(tmp_path / "chat.jsonl", 40)


STOPWATCH = Stopwatch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the processor time of each test in its report, which also reaches xdist's controller."""
    report = yield
    report.processor_s = STOPWATCH.lap()  # type: ignore[attr-defined]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with files that take long: with slow tests, then with many; a worker takes a file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -tests[item.path]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End a test run with what failed and the line that runs it again."""
    if os.environ.get(VARIABLE):
        terminalreporter.section("processor time")
        for line in table(terminalreporter.stats):
            terminalreporter.write_line(line)
    if failed := failed_tests(terminalreporter.stats):
        terminalreporter.section("failed")
        for node_id in failed:
            terminalreporter.write_line(node_id)
        terminalreporter.write_line(f"run again: {rerun_command(failed)}")
