"""The check of a download: disk space, folders to copy, names and addresses."""

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
    findings: list[Remark] = []
    config = plan(loads("task: download\n" + content, source="a.yaml").config, made_up("cpu"))
    check_config(config.config, findings.append)
    return findings


def test_the_check_reports_the_download_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 20_000_000_000)
    (remark,) = remarks("model: [Qwen/Qwen3-8B, o/unknown]\ndataset: o/rows\nlocal_dir: /x\n")
    assert remark.level == "note"
    assert remark.message == ("about 14.9 GiB and 2 of unknown size to fetch, 18.6 GiB free at /x")


def test_a_disk_that_is_too_small_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 1_000_000_000)
    remark = expected_size(["Qwen/Qwen3-8B"], [], Path("/x"))
    assert remark.level == "warning"
    assert "too small: about 14.9 GiB to fetch, 953.7 MiB free" in remark.message


def test_the_free_space_is_that_of_the_target_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    assert download_target("modelscope", None) == tmp_path / "ms"
    assert download_target("huggingface", None) == tmp_path / "hf"
    assert download_target("modelscope", "weights") == tmp_path / "weights"


@pytest.mark.parametrize(
    ("into", "message"),
    [("elsewhere", "no folder"), ("here/copy", "is inside"), ("here", "is inside")],
)
def test_a_folder_that_cannot_be_copied_is_refused_before_the_start(
    tmp_path: Path, into: str, message: str
) -> None:
    source = tmp_path / ("gone" if into == "elsewhere" else "here")
    (tmp_path / "here").mkdir()
    with pytest.raises(HubError, match=message):
        remarks(f"hub: local\nmodel: {source}\nlocal_dir: {tmp_path / into}\n")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("https://modelscope.cn/models/Qwen/Qwen3-0.6B", "is Qwen/Qwen3-0.6B"),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main", "is Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B@main", "write Qwen/Qwen3-0.6B and set revision: main"),
        ("qwen3-0.6b", "similar: Qwen/Qwen3-0.6B"),
    ],
)
def test_an_invalid_id_is_refused_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(HubError) as caught:
        remarks(f"model: '{name}'\n")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "line", ["endpoint: ftp://x", "endpoint: ['https://x', '']", "revision: ''"]
)
def test_an_invalid_address_or_branch_is_a_mistake(line: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:3"):
        remarks(f"model: o/n\n{line}\n")
