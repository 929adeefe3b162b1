"""The merge screen by keys: from a finished run to a YAML that merges its adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapters import make_adapter, make_run
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from swiftbox import run_folder
from swiftbox.menu import acting, loop, training
from swiftbox.tasks.load import load

ENTER, DOWN, CTRL_C = "\r", "\x1b[B", "\x03"
RUNS, NEWEST, MERGE = DOWN * 2 + ENTER, ENTER, DOWN * 3 + ENTER
DETACH, SETTING, SAVE, LEAVE = (DOWN * n + ENTER for n in range(1, 5))


@pytest.fixture
def trained(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished training with an adapter, in the current folder."""
    monkeypatch.chdir(tmp_path)
    run = run_folder.create(tmp_path / "runs" / "mine")
    make_run(make_adapter(tiny, run / run_folder.MODEL), tiny)
    run_folder.update_state(run, status="done", exit_code=0)
    return run


def walk(*pressed: str) -> None:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("".join(pressed))
        typed.close()
        assert loop.run() == 0


def test_the_adapter_of_a_run_is_merged_by_a_saved_yaml(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = [SETTING, "dtype", ENTER, DOWN * 2, ENTER, ENTER]
    walk(RUNS, NEWEST, MERGE, *change, SAVE, ENTER, LEAVE)
    config = load(trained.parents[1] / "merge-mine.yaml").config.model_dump()
    assert (config["adapter"], config["dtype"]) == ("runs/mine", "bfloat16")
    shown = capsys.readouterr().out
    assert "swiftbox new merge -o merge-mine.yaml adapter=runs/mine" in shown
    assert "merge_base: full" in shown


def test_a_merge_is_started_from_the_menu(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Path, bool]] = []

    def start(path: Path, *, detach: bool = False, **_: object) -> int:
        ran.append((path, detach))
        return 0

    monkeypatch.setattr(acting.launch, "start", start)
    walk(RUNS, NEWEST, MERGE, DETACH, ENTER, ENTER)
    assert ran == [(Path("merge-mine.yaml"), True)]
    assert (trained.parents[1] / "merge-mine.yaml").is_file()


def test_after_a_training_the_merge_is_offered(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []
    monkeypatch.setattr(training.merging, "begin", begun.append)
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text(DOWN + ENTER + ENTER)
        training.next_step(trained)
        training.next_step(trained)
    assert begun == [trained]


def test_a_run_without_an_adapter_has_nothing_to_merge(trained: Path) -> None:
    (trained / run_folder.MODEL / "adapter_config.json").unlink()
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text(ENTER)
        training.next_step(trained)
    walk(RUNS, NEWEST, MERGE, ENTER)  # the fourth entry is the way back
