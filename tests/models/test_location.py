"""What a name means: a folder, a run, an id on a hub; what is wrong with it, and what is near."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swiftbox.errors import ConfigError
from swiftbox.models.location import (
    find_folder,
    locate,
    locate_adapter,
    looks_like_path,
    misspelled,
    short_name,
)
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create


def finished_run(folder: Path, file: str = "adapter_config.json") -> Path:
    """Make the folder of a finished run whose result has this file."""
    create(folder)
    (folder / run_folder.STATE).write_text('{"status": "done"}')
    (folder / run_folder.SETTLED).write_text("task: train\nmodel: o/base\n")
    (folder / run_folder.MODEL).mkdir()
    (folder / run_folder.MODEL / file).write_text(json.dumps({"peft_type": "LORA"}))
    return folder


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "runs/typo",
        "./a",
        "../a/b",
        "/data/a",
        "~/a",
        "a",
        "a/b/c",
        "o/rows.jsonl",
        "o/model.safetensors",
        "o/model.GGUF",
    ],
)
def test_a_name_that_looks_like_a_path_is_one(name: str) -> None:
    assert looks_like_path(name)
    with pytest.raises(ConfigError, match=r"^model: no folder"):
        locate(name, key="model")


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-7B", "o/n", "o/n:sub/folder", "o/n.v1"])
def test_an_id_is_left_to_the_hub(name: str) -> None:
    assert not looks_like_path(name)
    assert locate(name, key="model") is None
    with pytest.raises(ConfigError, match="no folder") as caught:
        locate(name, key="model", hub="local")
    assert "hub: modelscope" in caught.value.hint


def test_a_folder_spelled_like_an_id_is_suggested(workspace: Path) -> None:
    (workspace / "models" / "tuned").mkdir(parents=True)
    assert misspelled("models/tunde") == ["models/tuned"]
    assert misspelled("models/tunde:sub") == ["models/tuned"]
    assert misspelled("models/tuned") == []  # it exists
    assert misspelled("models/another-model") == []
    assert misspelled("./models/tunde") == []  # a path, which locate refuses


def test_an_id_stays_one_beside_a_folder_of_its_owner(workspace: Path) -> None:
    (workspace / "Qwen").mkdir()
    for name in ("Qwen/Qwen3-0.6B", "Qwen/My-Private-Model"):
        assert locate(name, key="model") is None
        assert not looks_like_path(name)
        assert misspelled(name) == []


def test_an_id_of_the_catalogue_is_never_a_misspelled_folder(workspace: Path) -> None:
    (workspace / "Qwen" / "Qwen3-0.6B-mine").mkdir(parents=True)
    assert misspelled("Qwen/Qwen3-0.6B") == []
    assert misspelled("Qwen/Qwen3-0.6B-mien") == ["Qwen/Qwen3-0.6B-mine"]


def test_a_run_means_its_result_by_name_and_by_folder(workspace: Path) -> None:
    folder = finished_run(workspace / "runs" / "first")
    result = folder / run_folder.MODEL
    for name in ("first", "runs/first", str(folder), "runs/first/model"):
        assert locate(name, key="adapter") == result
        assert short_name(name) == "first"


def test_a_run_without_a_result_is_refused(workspace: Path) -> None:
    folder = finished_run(workspace / "runs" / "first")
    (folder / run_folder.MODEL).rename(folder / "elsewhere")
    with pytest.raises(ConfigError, match="the run first has no result yet") as caught:
        locate("first", key="adapter")
    assert "swiftbox runs resume" in caught.value.hint


def test_a_file_is_refused_with_its_folder(workspace: Path) -> None:
    (workspace / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"adapter: adapter_model.safetensors is a file"
    ) as caught:
        locate("adapter_model.safetensors", key="adapter")
    assert caught.value.hint == f"give its folder: adapter={workspace}"


def test_the_output_of_an_earlier_step_is_not_searched_for() -> None:
    assert locate("${train.adapter}", key="adapter") is None
    assert short_name("${train.adapter}") == "train"


def test_the_hint_names_runs_and_folders_spelled_alike(workspace: Path) -> None:
    finished_run(workspace / "runs" / "my-lora")
    finished_run(workspace / "runs" / "my-model", "config.json")
    for name in ("runs/my-lroa", "./rnus/my-lora", "runs/my-lroa/model", "my-lroa"):
        with pytest.raises(ConfigError) as caught:
            locate_adapter(name)
        assert "did you mean runs/my-lora" in caught.value.hint
        assert "my-model" not in caught.value.hint


def test_a_beginning_that_several_runs_share_names_them_all(workspace: Path) -> None:
    for name in ("sft-a", "sft-b"):
        finished_run(workspace / "runs" / name)
    with pytest.raises(ConfigError) as caught:
        locate("sft", key="adapter")
    assert "runs/sft-a" in caught.value.hint
    assert "runs/sft-b" in caught.value.hint


def test_a_model_without_an_owner_gets_similar_ids() -> None:
    with pytest.raises(ConfigError, match=r"no folder or run named Qwen3-0\.6B") as caught:
        locate("Qwen3-0.6B", key="model")
    assert "Qwen/Qwen3-0.6B" in caught.value.hint


def test_without_similar_names_the_hint_says_what_the_setting_takes() -> None:
    with pytest.raises(ConfigError) as caught:
        locate("runs/typo", key="adapter")
    assert "adapter_config.json" in caught.value.hint


def test_a_folder_without_an_adapter_is_not_one(workspace: Path) -> None:
    (workspace / "empty").mkdir()
    assert find_folder("empty") == workspace / "empty"
    with pytest.raises(ConfigError, match=r"has no adapter_config\.json"):
        locate_adapter("./empty")


def test_the_refusals_are_chinese_too(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    finished_run(workspace / "runs" / "my-lora")
    with pytest.raises(ConfigError, match="目录 runs/my-lroa 不存在") as caught:
        locate("runs/my-lroa", key="adapter")
    assert "是否想写 runs/my-lora" in caught.value.hint
