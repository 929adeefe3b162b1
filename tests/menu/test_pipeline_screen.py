"""The pipeline screens by keys: a goal, a model, data and steps become one YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_chats
from walking import CTRL_C, DOWN, ENTER, choice, entry, free_port, golden, saved, walk

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.menu.draft import changed_settings, draft_from_file
from swiftbox.menu.pipeline_screen import SCREEN, outline, step_settings
from swiftbox.tasks.load import load, loads

PIPELINE, FOLLOW, LORA, ALL_STEPS = entry("pipeline"), ENTER, ENTER, ENTER
RUN, DETACH, STEP, SETTING, EDIT, SAVE, LEAVE = map(choice, range(7))
NAME = "pipeline-train-deploy.yaml"


@pytest.fixture
def desk(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and a model under short names."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "model").symlink_to(tiny)
    write_chats(tmp_path / "chat.jsonl", 10)
    monkeypatch.chdir(tmp_path)
    free_port(monkeypatch)
    return tmp_path


ANSWERED = (PIPELINE, FOLLOW, "./model" + ENTER, LORA, "./chat.jsonl" + ENTER, ALL_STEPS)


def test_a_pipeline_is_configured_and_saved(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk(*ANSWERED, SAVE, ENTER, LEAVE, CTRL_C, CTRL_C, CTRL_C)
    assert saved(desk / NAME) == golden("chain")
    config = load(desk / NAME).config
    assert isinstance(config, PipelineConfig)
    names = [step.name for step in config.steps]
    assert names == ["train", "merge", "quantize", "evaluate", "deploy"]
    shown = capsys.readouterr().out
    assert "1/5 train" in shown
    assert "in all: disk" in shown


def test_a_setting_of_a_step_is_changed(desk: Path) -> None:
    change = [STEP, ENTER, "lora_rank", ENTER, "\x15", "4", ENTER, ENTER]  # of the first step
    walk(*ANSWERED, *change, SAVE, ENTER, LEAVE, CTRL_C, CTRL_C, CTRL_C)
    config = load(desk / NAME).config
    assert isinstance(config, PipelineConfig)
    assert config.steps[0].config.model_dump()["lora_rank"] == 4


def test_a_step_is_unchecked(desk: Path) -> None:
    without_quantize = DOWN * 3 + " " + ENTER  # download is not marked: the model is here
    walk(*ANSWERED[:-1], without_quantize, SAVE, ENTER, LEAVE, CTRL_C, CTRL_C, CTRL_C)
    config = load(desk / NAME).config
    assert isinstance(config, PipelineConfig)
    assert [step.name for step in config.steps] == ["train", "merge", "evaluate", "deploy"]


def test_ctrl_c_goes_one_question_back(desk: Path) -> None:
    again = [CTRL_C, "./chat.jsonl" + ENTER, ALL_STEPS]  # from the steps back to the data
    walk(*ANSWERED[:-1], *again, SAVE, ENTER, LEAVE, CTRL_C, CTRL_C, CTRL_C)
    assert saved(desk / NAME) == golden("chain")


@pytest.mark.usefixtures("desk")
def test_a_saved_pipeline_is_opened_unchanged() -> None:
    walk(*ANSWERED, SAVE, ENTER, LEAVE, CTRL_C, CTRL_C, CTRL_C)
    draft = draft_from_file(Path(NAME))
    assert draft.is_saved()
    assert SCREEN.command(draft, draft.loaded()) == f"swiftbox run {NAME}"


def test_the_command_of_a_pipeline_with_a_presets_steps_starts_from_the_preset() -> None:
    def of(rank: int, model: str) -> PipelineConfig:
        steps = (
            f"[{{name: train, task: train, model: {model}, dataset: d, lora_rank: {rank}}}, "
            "{name: merge, task: merge, adapter: '${train.adapter}'}]"
        )
        config = loads(f"task: pipeline\nsteps: {steps}\n", source="test").config
        assert isinstance(config, PipelineConfig)
        return config

    before, after = of(8, "a/a"), of(4, "b/b")
    assert outline(before) == outline(after)
    settings = changed_settings(step_settings(before), step_settings(after))
    assert settings == ["train.model=b/b", "train.lora_rank=4"]
