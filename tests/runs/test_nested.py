"""Runs inside a run: they end with it, hand their events on, and say why they failed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from made_up import made_up
from model_folder import write_model

from swiftbox import nested, run_folder
from swiftbox.config.download import DownloadConfig
from swiftbox.errors import RunError
from swiftbox.tasks.load import loads


def download(source: Path, target: Path) -> DownloadConfig:
    given = ["task=download", "hub=local", f"model={source}", f"local_dir={target}"]
    config = loads("", source="test", overrides=given).config
    assert isinstance(config, DownloadConfig)
    return config


def test_a_step_is_carried_out_in_a_folder_of_its_own(tmp_path: Path) -> None:
    config = download(write_model(tmp_path / "here"), tmp_path / "there")
    folder = tmp_path / "outer" / "steps" / "fetch"
    nested.record(folder, config, made_up("cpu"))
    heard: list[str] = []
    code = nested.carry_out(
        folder,
        nested.child_of(folder, 1, {}),
        threading.Event(),
        lambda event: heard.append(event["event"]),
    )
    assert code == 0
    assert heard[-1] == "done"
    assert run_folder.find(str(folder)).status == "done"


def test_a_run_beside_says_why_it_failed(tmp_path: Path) -> None:
    config = download(tmp_path / "nothing here", tmp_path / "there")
    with (
        nested.beside(tmp_path / "servers" / "base", config, made_up("cpu")) as running,
        pytest.raises(RunError, match="nothing here"),
    ):
        running.wait_for("serving", within_s=60, stop=threading.Event())
    assert not running.is_alive


def test_several_processes_are_begun_by_torchrun(tmp_path: Path) -> None:
    words = nested.child_of(tmp_path, 2, {}).words
    assert "torch.distributed.run" in words
    assert words[-1] == str(tmp_path)
