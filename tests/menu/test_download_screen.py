"""The download screens by keys: a queue becomes YAML; local models are verified and deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folder import write_model
from walking import CLEAR, CTRL_C, DOWN, ENTER, TAB, keys

from swiftbox.config.download import DownloadConfig
from swiftbox.launch.record import Ready
from swiftbox.menu import actions, loop
from swiftbox.menu.download_screen import download_command, with_queued
from swiftbox.menu.draft import Draft
from swiftbox.models.verified import Marker, Origin
from swiftbox.tasks.load import load

DOWNLOAD, MODELS, DATASETS, LOCAL = DOWN + ENTER, ENTER, DOWN + ENTER, DOWN * 2 + ENTER
RUN, DETACH, MORE_MODELS, MORE_DATA, REMOVE, SETTING, EDIT, SAVE, LEAVE = (
    DOWN * n + ENTER for n in range(9)
)
QUIT = CTRL_C


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def test_a_queue_of_models_and_datasets_is_saved(desk: Path) -> None:
    models = ["qwen3-0.6b", TAB, CLEAR, "qwen3-1.7b", TAB, CLEAR, ENTER]
    data = [MORE_DATA, "alpaca-gpt4-data-en", ENTER]
    with keys(DOWNLOAD, MODELS, *models, *data, SAVE, ENTER, LEAVE, QUIT, QUIT):
        assert loop.run() == 0
    config = load(desk / "download-qwen3-0.6b.yaml").config.model_dump()
    assert config["model"] == ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B"]
    assert config["dataset"] == ["AI-ModelScope/alpaca-gpt4-data-en"]


def test_a_model_is_removed_from_the_queue_and_a_setting_changed(desk: Path) -> None:
    models = ["qwen3-0.6b", TAB, CLEAR, "qwen3-1.7b", TAB, CLEAR, ENTER]
    change = [SETTING, "local_dir", ENTER, CLEAR, "weights", ENTER, ENTER]
    walk = [REMOVE, ENTER, *change, SAVE, ENTER, LEAVE]
    with keys(DOWNLOAD, MODELS, *models, *walk, QUIT, QUIT):
        assert loop.run() == 0
    config = load(desk / "download-qwen3-1.7b.yaml").config.model_dump()
    assert config["model"] == ["Qwen/Qwen3-1.7B"]
    assert config["local_dir"] == "weights"


def test_a_download_saves_the_yaml_and_runs_it(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, bool]] = []

    def run(ready: Ready, *, detach: bool = False, **_: object) -> int:
        ran.append((ready.plan.config.task, detach))
        return 0

    monkeypatch.setattr(actions, "run", run)
    with keys(DOWNLOAD, MODELS, "qwen3-0.6b", ENTER, DETACH, ENTER, ENTER, QUIT):
        assert loop.run() == 0
    assert ran == [("download", True)]
    assert (desk / "download-qwen3-0.6b.yaml").is_file()


def test_a_name_that_is_not_an_id_is_refused_while_it_is_typed(desk: Path) -> None:
    wrong = ["../../etc/x", ENTER, CLEAR, "qwen3-0.6b", ENTER]
    with keys(DOWNLOAD, MODELS, *wrong, SAVE, ENTER, LEAVE, QUIT, QUIT):
        assert loop.run() == 0
    assert load(desk / "download-qwen3-0.6b.yaml").config.model_dump()["model"] == [
        "Qwen/Qwen3-0.6B"
    ]


def test_the_review_shows_the_command() -> None:
    models = with_queued(Draft(DownloadConfig, {}), "model", ["Qwen/Qwen3-8B", "o/unknown"])
    queue = with_queued(models, "dataset", ["o/rows"])
    assert download_command(queue) == "swiftbox download Qwen/Qwen3-8B o/unknown 'dataset=[o/rows]'"
    only = with_queued(Draft(DownloadConfig, {"hub": "huggingface"}), "dataset", ["o/rows"])
    assert download_command(only) == "swiftbox download o/rows --dataset hub=huggingface"


def downloaded(desk: Path) -> Path:
    folder = write_model(desk.parent / "ms/models/o--n/snapshots/master")
    marker = Marker(folder)
    marker.begin(Origin("modelscope", "o/n", "model", "master", "c1"))
    marker.end("")
    return folder


def test_a_local_model_is_verified(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    downloaded(desk)
    with keys(DOWNLOAD, LOCAL, ENTER, ENTER, ENTER, *[CTRL_C] * 4):
        assert loop.run() == 0
    assert "o/n: ok" in capsys.readouterr().out


def test_a_local_model_is_deleted_after_a_second_question(desk: Path) -> None:
    folder = downloaded(desk)
    with keys(DOWNLOAD, LOCAL, ENTER, DOWN + ENTER, ENTER, *[CTRL_C] * 4):
        assert loop.run() == 0
    assert folder.is_dir()
    with keys(DOWNLOAD, LOCAL, ENTER, DOWN + ENTER, DOWN + ENTER, *[CTRL_C] * 4):
        assert loop.run() == 0
    assert not folder.exists()


def test_a_training_offers_the_downloaded_models(desk: Path) -> None:
    downloaded(desk)
    (desk / "chat.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "a"}]}) + "\n"
    )
    lora, rank, dataset, rest = ENTER, ENTER, ENTER, ENTER * 6
    with keys(ENTER, ENTER, ENTER, lora, rank, dataset, rest, *[CTRL_C] * 20):
        assert loop.run() == 0
