"""What a download's check says before anything starts: room, folders to copy, names, addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import made_up

from swiftbox.errors import ConfigError, HubError
from swiftbox.hub.expected_size import download_target, expected_size
from swiftbox.launch.prepare import check_config
from swiftbox.models.requirements import Remark
from swiftbox.plan import plan
from swiftbox.tasks.load import loads


def remarks(content: str) -> list[Remark]:
    found: list[Remark] = []
    config = plan(loads("task: download\n" + content, source="a.yaml").config, made_up("cpu"))
    check_config(config.config, found.append)
    return found


def test_the_check_says_how_much_there_is_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 20_000_000_000)
    (said,) = remarks("model: [Qwen/Qwen3-8B, o/unknown]\ndataset: o/rows\nlocal_dir: /x\n")
    assert said.level == "note"
    assert said.message == ("about 14.9 GiB and 2 of unknown size to fetch, 18.6 GiB free at /x")


def test_a_disk_that_is_too_small_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 1_000_000_000)
    said = expected_size(["Qwen/Qwen3-8B"], [], Path("/x"))
    assert said.level == "warning"
    assert "too small: about 14.9 GiB to fetch, 953.7 MiB free" in said.message


def test_the_room_is_that_of_the_disk_that_is_fetched_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    assert download_target("modelscope", None) == tmp_path / "ms"
    assert download_target("huggingface", None) == tmp_path / "hf"
    assert download_target("modelscope", "weights") == tmp_path / "weights"


@pytest.mark.parametrize(
    ("into", "said"),
    [("elsewhere", "no folder"), ("here/copy", "is inside"), ("here", "is inside")],
)
def test_a_folder_that_cannot_be_copied_is_said_before_the_start(
    tmp_path: Path, into: str, said: str
) -> None:
    source = tmp_path / ("gone" if into == "elsewhere" else "here")
    (tmp_path / "here").mkdir()
    with pytest.raises(HubError, match=said):
        remarks(f"hub: local\nmodel: {source}\nlocal_dir: {tmp_path / into}\n")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("https://modelscope.cn/models/Qwen/Qwen3-0.6B", "is Qwen/Qwen3-0.6B"),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main", "is Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B@main", "write Qwen/Qwen3-0.6B, and revision: main"),
        ("qwen3-0.6b", "near: Qwen/Qwen3-0.6B"),
    ],
)
def test_a_name_that_is_no_id_is_answered_with_what_may_be_meant(name: str, hint: str) -> None:
    with pytest.raises(HubError) as caught:
        remarks(f"model: '{name}'\n")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "line", ["endpoint: ftp://x", "endpoint: ['https://x', '']", "revision: ''"]
)
def test_an_address_or_branch_that_is_none_is_a_mistake(line: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:3"):
        remarks(f"model: o/n\n{line}\n")
