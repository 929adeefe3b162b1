"""The chat screens by keys: the model to talk to, the review, and the chat that it opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapters import make_adapter, make_run
from walking import CLEAR, CTRL_C, DOWN, ENTER, choice, entry, walk

from swiftbox.config.chat import ChatConfig
from swiftbox.menu.chat_screen import chat_command
from swiftbox.menu.draft import Draft
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create

CHAT = entry("chat")
AN_ADAPTER, A_MODEL, A_SERVER = map(choice, range(3))
TALK = ENTER


@pytest.fixture
def chats(monkeypatch: pytest.MonkeyPatch) -> list[ChatConfig]:
    """The configs that chats were opened with; no chat runs."""
    configs: list[ChatConfig] = []

    def converse(config: ChatConfig) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr("swiftbox.display.chat_session.converse", converse)
    return configs


@pytest.fixture
def desk(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run that made an adapter."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    run = create(tmp_path / "runs" / "mine")
    make_run(make_adapter(tiny, run / run_folder.MODEL), tiny)
    run_folder.update_state(run, status="done")
    return tmp_path


@pytest.mark.usefixtures("desk")
def test_an_adapter_is_compared_with_its_base(
    chats: list[ChatConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    walk(CHAT, AN_ADAPTER, ENTER, TALK, CTRL_C, CTRL_C, CTRL_C)
    (config,) = chats
    assert (config.adapter, config.compare) == ("runs/mine", "base")
    assert "swiftbox chat --adapter runs/mine --compare base" in capsys.readouterr().out


@pytest.mark.usefixtures("desk")
def test_the_comparison_is_removed(chats: list[ChatConfig]) -> None:
    walk(CHAT, AN_ADAPTER, ENTER, choice(1), TALK, CTRL_C, CTRL_C, CTRL_C)
    assert [config.compare for config in chats] == [None]


@pytest.mark.usefixtures("desk")
def test_a_model_is_chosen(chats: list[ChatConfig], tiny: Path) -> None:
    walk(CHAT, A_MODEL, str(tiny), ENTER, TALK, CTRL_C, CTRL_C, CTRL_C)
    assert [config.model for config in chats] == [str(tiny)]


@pytest.mark.usefixtures("desk")
def test_a_folder_without_a_model_is_refused_before_loading(
    chats: list[ChatConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    walk(CHAT, A_MODEL, "./empty", ENTER, CTRL_C, CTRL_C, CTRL_C)
    assert chats == []
    assert "no model in" in capsys.readouterr().out


def test_settings_without_a_flag_go_through_a_file() -> None:
    draft = Draft(ChatConfig, {"endpoint": "http://h:1", "model": "named", "max_tokens": 7})
    write, talk = chat_command(draft, draft.loaded()).split(" && ")
    assert write.startswith("swiftbox new chat -o chat-named.yaml ")
    assert "max_tokens=7" in write
    assert talk == "swiftbox chat chat-named.yaml"


def test_arguments_with_spaces_are_quoted_for_the_shell() -> None:
    draft = Draft(ChatConfig, {"model": "m", "system": "be brief"})
    assert chat_command(draft, draft.loaded()) == "swiftbox chat m --system 'be brief'"


@pytest.mark.usefixtures("desk")
def test_an_address_is_typed_if_no_deployment_runs(chats: list[ChatConfig]) -> None:
    walk(CHAT, A_SERVER, CLEAR, "http://127.0.0.1:9", ENTER, TALK, DOWN, *[CTRL_C] * 4)
    assert [config.endpoint for config in chats] == ["http://127.0.0.1:9"]
