"""The menu asks before code that a file names runs; what the user answered is not asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from model_folder import write_model
from walking import CTRL_C, DOWN, ENTER, keys

from swiftbox.launch.prepare import Prepared
from swiftbox.launch.record import Ready
from swiftbox.menu import actions, failure_screen, runs_screen
from swiftbox.menu.draft import Draft, draft_from_file, new_draft
from swiftbox.menu.questions import Back
from swiftbox.menu.review_screen import review
from swiftbox.menu.screens import screen_of
from swiftbox.runs import folder as run_folder

RUN = ENTER
NO, YES = ENTER, DOWN + ENTER

VALUES: dict[str, Any] = {
    "stage": "grpo",
    "model": "model",
    "dataset": "rows.jsonl",
    "num_generations": 2,
    "gradient_accumulation_steps": 2,
    "reward_funcs": "rewards.py:good",
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs that are started from the current folder, which has a model and a reward file."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model")
    (tmp_path / "rewards.py").write_text("def good(completions, **columns):\n    return []\n")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n', "utf-8")
    folders: list[Path] = []

    def run(ready: Ready, **_: object) -> int:
        folders.append(ready.folder)
        run_folder.update_state(ready.folder, status="done", pid=None, supervisor=None)
        return 0

    monkeypatch.setattr(actions, "run", run)
    monkeypatch.setattr(failure_screen, "run", run)
    return folders


def saved(draft: Draft) -> Path:
    path = Path("a.yaml")
    path.write_text(draft.yaml(path), "utf-8")
    return path


def reviewed(draft: Draft, *pressed: str) -> None:
    with keys(*pressed):
        review(draft, screen_of(draft.task.name))


def test_code_of_a_file_is_asked_for_and_enter_means_no(
    started: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    draft = draft_from_file(saved(new_draft("train", VALUES)))
    with pytest.raises(Back):
        reviewed(draft, RUN, NO, CTRL_C)
    assert started == []
    shown = capsys.readouterr().out
    assert "runs this code with your rights:" in shown
    assert "rewards.py,functiongood" in "".join(shown.split())  # a narrow screen breaks lines
    reviewed(draft, RUN, YES)
    reviewed(draft, RUN)  # agreed to already
    assert len(started) == 2


def test_what_was_answered_in_the_menu_is_not_asked_for(started: list[Path]) -> None:
    path = saved(new_draft("train", VALUES))
    reviewed(Draft(new_draft("train", VALUES).config_class, VALUES, path), RUN)
    assert len(started) == 1


def test_another_answer_does_not_agree_to_the_code_of_a_file(started: list[Path]) -> None:
    draft = draft_from_file(saved(new_draft("train", VALUES)))
    changed = draft.with_values(learning_rate=1e-3)
    assert "reward_funcs" not in changed.loaded().typed
    assert "learning_rate" in changed.loaded().typed
    assert started == []


def test_an_answer_for_one_step_does_not_agree_to_the_code_of_another() -> None:
    blocks = [
        {"name": "a", "task": "train", "trust_remote_code": True, "model": "o/n", "dataset": "o/r"},
        {"name": "b", "task": "merge", "adapter": "${a.adapter}"},
    ]
    draft = new_draft("pipeline", {"steps": blocks})
    read = Draft(draft.config_class, draft.values, None, draft.values)
    changed = read.with_values(steps=[blocks[0], {**blocks[1], "dtype": "float32"}])
    assert changed.loaded().typed == {"b.dtype"}
    assert "a.trust_remote_code" in draft.loaded().typed


def test_a_foreign_run_is_asked_for_in_my_runs(
    started: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    reviewed(new_draft("train", VALUES), RUN, "b.yaml" + ENTER)
    (folder,) = started
    settled = folder / run_folder.SETTLED
    settled.write_text(settled.read_text("utf-8") + "\n", "utf-8")
    for answer, runs in ((NO, 1), (YES + CTRL_C, 2)):
        capsys.readouterr()
        with keys(answer):
            try:
                runs_screen._run_again(_rerun, folder)
            except Back:
                assert answer == NO
        shown = " ".join(capsys.readouterr().out.split())  # wrapped where a long path ends
        assert "was not made by your swiftbox on this machine" in shown
        assert len(started) == runs


def _rerun(folder: Path) -> Prepared:
    from swiftbox.launch.prepare import prepare_rerun

    return prepare_rerun(folder)
