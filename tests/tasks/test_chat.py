"""A chat before it starts: how its names are resolved, and that a run names its deployment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swiftbox.config.chat import ChatConfig
from swiftbox.config.writing import write
from swiftbox.errors import ConfigError
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create
from swiftbox.tasks.chat import check, with_absolute_paths
from swiftbox.tasks.load import loads
from swiftbox.tasks.participants import participant_sources


def chat(*settings: str) -> ChatConfig:
    config = loads("task: chat\n", source="test", overrides=settings).config
    assert isinstance(config, ChatConfig)
    return config


def test_a_chat_with_a_deployment_uses_its_address(tmp_path: Path) -> None:
    folder = create(tmp_path / "deploy-me")
    served = loads("task: deploy\nmodel: o/n\n", source="test").config
    (folder / run_folder.SETTLED).write_text(write(served, header=[]), "utf-8")
    run_folder.update_state(
        folder,
        status="running",
        url="http://127.0.0.1:9",
        pid=os.getpid(),
        pid_started=run_folder.process_start(os.getpid()),
    )
    for setting in (f"model={folder}", "model=deploy-me", "endpoint=http://127.0.0.1:9/v1"):
        (source,) = participant_sources(with_absolute_paths(chat(setting)))
        assert source.url is not None
        assert source.url.removesuffix("/v1") == "http://127.0.0.1:9"
        assert source.weights == "o/n"  # sampled as a chat with the model itself would be


def test_an_id_is_kept_as_an_id() -> None:
    assert with_absolute_paths(chat("model=o/n")).model == "o/n"


def test_a_key_that_is_not_set_is_refused_before_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_MODEL_KEY", raising=False)
    address = "https://example.org/v1"
    config = ChatConfig(prompt="hi", endpoint=address, api_key_env="MY_MODEL_KEY")
    with pytest.raises(ConfigError, match="MY_MODEL_KEY is not set"):
        check(config, lambda _: None)
    monkeypatch.setenv("MY_MODEL_KEY", "sk-1")
    check(config, lambda _: None)
