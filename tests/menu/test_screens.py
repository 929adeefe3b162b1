"""The screens of the tasks after a training by keys: each walk saves a YAML of tests/golden."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from adapters import make_adapter, make_run
from walking import CTRL_C, ENTER, UP, choice, entry, free_port, golden, keys, saved, walk

from swiftbox.cli.main import main
from swiftbox.devices.probe import NO_DEVICE, Probe
from swiftbox.engines.consent import MissingEngine
from swiftbox.errors import MachineError
from swiftbox.launch.prepare import Prepared
from swiftbox.menu import actions, home, review_screen, start_questions
from swiftbox.menu.draft import closest_preset, equivalent_command, new_draft
from swiftbox.menu.questions import Back
from swiftbox.menu.review_screen import TaskScreen, review
from swiftbox.menu.screens import SCREENS, open_task, screen_of
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

AN_ADAPTER = ENTER
NEWEST = ENTER
HOME = CTRL_C * 9


@pytest.fixture
def desk(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model and a run whose result is an adapter."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    free_port(monkeypatch)
    (tmp_path / "model").symlink_to(tiny)
    run = create(tmp_path / "runs" / "mine")
    make_run(make_adapter(tiny, run / run_folder.MODEL), tiny)
    run_folder.update_state(run, status="done")
    return tmp_path


WALKS = {
    "merge": ("merge-mine.yaml", [NEWEST, ENTER, choice(1), choice(2)]),
    "quantize": ("bnb-mine.yaml", [AN_ADAPTER, NEWEST, *[ENTER] * 4]),
    "deploy": ("deploy-mine.yaml", [AN_ADAPTER, NEWEST, *[ENTER] * 4]),
    "evaluate": (
        "evaluate-mine.yaml",
        [AN_ADAPTER, NEWEST, ENTER, choice(2), ENTER, "5" + ENTER, ENTER],
    ),
}
"""The file that a walk saves, and its answers after the choice of the task."""

SAVE = choice(4)
RUN, INSTALL, NOT_NOW = ENTER, ENTER, choice(1)


@pytest.mark.parametrize(
    ("task", "language"), [*((task, "en") for task in WALKS), ("evaluate", "zh")]
)
def test_a_task_is_configured_and_saved(
    task: str, language: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    name, answers = WALKS[task]
    walk(entry(task), *answers, SAVE, ENTER, HOME)
    assert saved(desk / name) == golden(task)
    assert load(desk / name).config.task == task


@pytest.mark.usefixtures("desk")
def test_the_back_entry_of_a_review_leads_to_the_last_question(
    capsys: pytest.CaptureFixture[str],
) -> None:
    back, float32 = choice(5), choice(4)
    walk(entry("merge"), *WALKS["merge"][1], back, UP * 2 + float32, HOME)
    assert "dtype=float32" in capsys.readouterr().out


@pytest.mark.usefixtures("desk")
def test_a_yaml_of_this_folder_is_opened_unchanged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine.yaml").write_text("task: merge\nadapter: runs/mine\ndtype: float16\n")
    Path("other.yaml").write_text("task: deploy\nmodel: model\n")
    walk(entry("merge"), choice(1), HOME)  # behind `a new one`; YAMLs of other tasks are not listed
    assert "  swiftbox run mine.yaml" in capsys.readouterr().out


@pytest.mark.usefixtures("desk")
def test_missing_benchmarks_are_replaced_by_the_samples_with_one_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ceval_and_mmlu = [AN_ADAPTER, NEWEST, *[ENTER] * 5]
    walk(entry("evaluate"), *ceval_and_mmlu, ENTER, HOME)
    shown = capsys.readouterr().out
    assert shown.index("error: benchmarks: ") < shown.index("[sample_ceval, sample_mmlu]")
    assert shown.index("[sample_ceval, sample_mmlu]") < shown.index("swiftbox new evaluate")


def test_a_missing_engine_is_installed_with_consent(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[object] = []
    ran: list[str] = []

    def install(missing: tuple[MissingEngine, ...], _consent: object) -> None:
        installed.extend(engine.engine.name for engine in missing)

    def run(prepared: Prepared, **_: object) -> None:
        ran.append(prepared.plan.config.task)

    monkeypatch.setattr(start_questions, "install_missing", install)
    monkeypatch.setattr(review_screen, "run_prepared", run)
    walk(entry("evaluate"), *WALKS["evaluate"][1], RUN, NOT_NOW, HOME)
    assert (installed, ran) == ([], [])
    walk(entry("evaluate"), *WALKS["evaluate"][1], RUN, INSTALL, ENTER, HOME)
    assert installed == ["evalscope"]
    assert ran == ["evaluate"]
    assert (desk / "evaluate-mine.yaml").is_file()


def test_an_engine_that_cannot_be_installed_leaves_the_review_open(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MachineError("no network", hint="plug it in")

    monkeypatch.setattr(start_questions, "install_missing", fail)
    walk(entry("evaluate"), *WALKS["evaluate"][1], ENTER, ENTER, HOME)
    assert "error: no network\nhint: plug it in" in capsys.readouterr().out
    assert not list(desk.glob("evaluate-*"))


def test_every_task_of_the_home_screen_is_a_task_with_a_screen() -> None:
    assert set(home.TASKS) <= set(TASKS)
    assert set(SCREENS) == set(home.TASKS)


def test_a_task_without_a_row_has_the_default_screen_and_an_unknown_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert screen_of("starter") == TaskScreen()
    assert open_task("unheard-of", Probe(Path(), "", NO_DEVICE)) is None
    assert "task: unheard-of is not part of this version" in capsys.readouterr().out


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("task", ["merge", "deploy", "evaluate"])
def test_the_equivalent_command_makes_the_same_config(task: str) -> None:
    draft = new_draft(task, {"adapter": "runs/mine"})
    command = equivalent_command(draft, draft.loaded()).split(" && ")[0]
    assert main(shlex.split(command)[1:]) == 0
    assert load(Path(shlex.split(command)[4])).config == draft.loaded().config


def test_a_server_in_the_background_is_waited_for(desk: Path) -> None:
    run = create(desk / "runs" / "served")
    run_folder.update_state(run, status="running", pid=os.getpid(), url="http://127.0.0.1:9")
    assert actions.wait_until_serving(run)
    run_folder.update_state(run, status="failed", url=None)
    assert not actions.wait_until_serving(run)


def test_the_editor_may_not_change_the_task(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "other.yaml").write_text("task: deploy\nmodel: model\n")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "cp other.yaml")
    edit, drop = choice(3), choice(1)
    with keys(edit, drop, CTRL_C), pytest.raises(Back):
        review(new_draft("merge", {"adapter": "runs/mine"}), screen_of("merge"))
    assert "task: deploy: this screen is for task: merge" in capsys.readouterr().out


def test_the_command_starts_from_the_closest_preset() -> None:
    assert closest_preset({"task": "quantize", "method": "bnb"}) == "quantize"
    assert closest_preset({"task": "quantize", "method": "gptq"}) == "quantize-gptq"
    assert closest_preset({"task": "train", "stage": "sft", "tuner_type": "qlora"}) == "sft-qlora"
