"""One file may serve several tasks: keys of another task are noted, not refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import made_up

from swiftbox.config.writing import write
from swiftbox.errors import ConfigError, HubError
from swiftbox.launch.prepare import with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.download import queue
from swiftbox.tasks.load import Loaded, loads, require_training


def read(content: str) -> Loaded:
    return loads(content, source="a.yaml")


def test_a_key_of_another_task_is_dropped_with_a_note() -> None:
    loaded = read("task: download\nmodel: o/n\nlora_rank: 8\nlocal_dir: x\n")
    owners = "task: train, task: extract, task: mix"
    assert loaded.notes == (f"a.yaml:3 lora_rank is not used: it belongs to {owners}",)
    loaded = read("model: o/n\ndataset: o/d\nlocal_dir: x\n")
    assert loaded.notes == ("a.yaml:3 local_dir is not used: it belongs to task: download",)


def test_a_key_of_another_stage_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:4 num_generations: belongs to stage: grpo"):
        read("stage: sft\nmodel: o/n\ndataset: o/d\nnum_generations: 4\n")


def test_an_unknown_key_is_a_mistake_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean local_dir"):
        read("task: download\nmodel: o/n\nlocal_dri: x\n")


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="should be one of train, download"):
        read("task: fly\nmodel: o/n\ndataset: o/d\n")


def test_a_download_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="give a model or a dataset"):
        read("task: download\n")


def test_a_copy_requires_a_target() -> None:
    with pytest.raises(ConfigError, match="the copy is written there"):
        read("task: download\nhub: local\nmodel: x\n")


def test_a_download_is_not_a_training() -> None:
    with pytest.raises(ConfigError, match="is not a training"):
        require_training(read("task: download\nmodel: o/n\n").config)


def test_a_download_is_planned_alike_on_every_machine() -> None:
    config = read("task: download\nmodel: [o/n, o/m]\nignore_patterns: none\n").config
    planned = plan(config, made_up("npu"))
    assert planned.processes == 1
    assert read(write(planned.config)).config == config


def test_the_queue_has_models_then_datasets_each_in_its_own_folder() -> None:
    config = read("task: download\nmodel: [o/n, 'o/m:sub']\ndataset: o/d\nlocal_dir: x\n").config
    requests = list(queue(config))  # type: ignore[arg-type]
    assert [(request.kind, request.name, str(request.local_dir)) for request in requests] == [
        ("model", "o/n", "x/o/n"),
        ("model", "o/m:sub", "x/o/m"),
        ("dataset", "o/d", "x/o/d"),
    ]


def test_an_invalid_id_is_refused_before_anything_starts() -> None:
    config = read("task: download\nmodel: ../x\n").config
    with pytest.raises(HubError, match="is not an id of a hub"):
        plan(config, made_up("cpu"))


def test_the_record_has_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    config = read("task: download\nhub: local\nmodel: model\nlocal_dir: copy\n").config
    placed = with_absolute_paths(config).model_dump()
    assert placed["model"] == [str(tmp_path / "model")]
    assert placed["local_dir"] == str(tmp_path / "copy")


def test_every_task_names_its_runs() -> None:
    assert (
        TASKS["download"].run_name(read("task: download\nmodel: o/N.x\n").config) == "download-n.x"
    )
    train = read("model: o/N\ndataset: d\n").config
    assert TASKS["train"].run_name(train) == "sft-lora-n"
