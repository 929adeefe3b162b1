"""Downloads into `local_dir`: what belongs to the user, the system or git stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from downloading import Desk, same
from fake_hub import Repository, hub
from file_trees import home_with_sentinels, tree
from made_up import made_up

from swiftbox.errors import HubError
from swiftbox.hub.download import download
from swiftbox.hub.local_folder import require_target
from swiftbox.launch.prepare import check_config
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import MARKER
from swiftbox.plan import plan
from swiftbox.runs import events
from swiftbox.tasks.load import loads

MODEL = {"config.json": b'{"model_type": "qwen3"}', "model.safetensors": b"weights"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def copy(source: Path, into: Path, emit: Any = lambda *_, **__: None) -> Path:
    return download(DownloadRequest(str(source), hub="local", local_dir=into), emit).folder


def check(source: Path, into: Path) -> None:
    content = f"task: download\nhub: local\nmodel: {source}\nlocal_dir: '{into}'\n"
    config = plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    check_config(config, lambda _: None)


def test_a_file_of_the_user_is_not_replaced_and_is_named(source: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "config.json").write_text("mine")
    before = tree(into)
    for refused in (copy, check):
        with pytest.raises(HubError, match="not from this download") as caught:
            refused(source, into)
        assert ": config.json; nothing was fetched" in caught.value.message
        assert "move or delete" in caught.value.hint
    assert tree(into) == before


def test_a_file_that_the_user_changed_after_the_download_is_not_replaced(
    source: Path, tmp_path: Path
) -> None:
    into = copy(source, tmp_path / "into")
    (into / "config.json").write_text("changed by hand")
    with pytest.raises(HubError, match=r"changed since: config\.json"):
        copy(source, into)
    assert (into / "config.json").read_text() == "changed by hand"


def test_a_file_of_the_download_is_replaced_when_the_hub_has_a_new_one(tmp_path: Path) -> None:
    into = tmp_path / "into"
    with hub(Repository("o/n", MODEL)) as server:
        desk = Desk(tmp_path, server.address, server.address)
        desk.download("o/n", "--to", str(into)).fine()
        server.repositories[0] = Repository("o/n", {**MODEL, "config.json": b"{}"})
        desk.download("o/n", "--to", str(into)).fine()
        assert same(into, server.repositories[0])


def test_a_file_with_the_same_contents_is_kept_and_recorded(source: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "config.json").write_bytes(MODEL["config.json"])
    seen = (into / "config.json").stat()
    copy(source, into)
    assert (into / "config.json").stat().st_ino == seen.st_ino
    assert "config.json" in (into / MARKER).read_text()


def test_an_unfinished_file_of_the_user_is_not_continued(source: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "model.safetensors.incomplete").write_text("mine")
    with pytest.raises(HubError, match=r"model\.safetensors\.incomplete"):
        copy(source, into)
    assert (into / "model.safetensors.incomplete").read_text() == "mine"


def test_another_repository_is_not_mixed_into_a_download(source: Path, tmp_path: Path) -> None:
    into, other = copy(source, tmp_path / "into"), tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    before = tree(into)
    with pytest.raises(HubError, match="holds a download of"):
        copy(other, into)
    assert tree(into) == before


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_hidden_files_are_left_out_with_a_note(tmp_path: Path, name: str) -> None:
    hidden = {".gitattributes": b"x", ".bashrc": b"evil", "a/.git/hooks/post-checkout": b"evil"}
    with hub(Repository("o/n", {**MODEL, **hidden})) as server:
        desk = Desk(tmp_path, server.address, server.address)
        work = home_with_sentinels(tmp_path)
        done = desk.box("download", "o/n", "--hub", name, "--to", str(work), "--plain").fine()
    assert "hidden files are not written into local_dir: .bashrc, .gitattributes" in done.err
    assert (work / "config.json").is_file()
    assert not (work / ".bashrc").exists()
    assert not (work / "a").exists()
    assert (work / ".git/hooks/post-checkout").read_text().startswith("mine")


@pytest.mark.parametrize(
    "folder",
    [
        *("/", "~", "~/..", "~/.ssh", "~/.config/autostart", "~/code/.git/hooks", "/etc", "/home"),
        *("/etc/cron.d", "/usr/bin", "/proc/self", "/dev", "/var/spool/cron", "~/link"),
        "~/lib/site-packages",
    ],
)
def test_a_folder_where_other_files_live_is_refused_by_check(
    source: Path, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "home" / "link").symlink_to("/etc")
    with pytest.raises(HubError, match="local_dir: ") as caught:
        check(source, Path(folder))
    assert "choose a folder for this download alone" in caught.value.hint


@pytest.mark.parametrize(
    "folder", ["~/models", "~/.cache/models", "/dev/shm/models", "/data/models", "/opt/m", "/mnt/x"]
)
def test_a_folder_for_models_is_accepted(folder: str) -> None:
    require_target(Path(folder))


def test_a_link_in_local_dir_is_not_followed_out_of_it(source: Path, tmp_path: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "x").touch()
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.mkdir()
    (into / "sub").symlink_to(outside)
    with pytest.raises(HubError, match="leads outside"):
        copy(source, into)
    assert os.listdir(outside) == []


def test_a_file_where_a_folder_is_needed_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "x").touch()
    into = tmp_path / "into"
    into.mkdir()
    (into / "sub").write_text("mine")
    with pytest.raises(HubError, match="is not a folder"):
        copy(source, into)
    (into / "sub").unlink()
    (into / "config.json").mkdir()
    with pytest.raises(HubError, match="is a folder"):
        copy(source, into)


def test_several_sources_with_one_name_are_refused(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "source"
    other.mkdir(parents=True)
    content = f"task: download\nhub: local\nmodel: [{source}, {other}]\nlocal_dir: {tmp_path}/x\n"
    config = plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    with pytest.raises(HubError, match="two downloads would go into"):
        check_config(config, lambda _: None)


def test_no_note_is_emitted_without_hidden_files(source: Path, tmp_path: Path) -> None:
    emitted: list[str] = []
    copy(source, tmp_path / "into", lambda event, **_: emitted.append(event))
    assert events.NOTE not in emitted
