"""Which files of a repository are wanted, and which names are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import COMMIT

from swiftbox.errors import HubError
from swiftbox.hub import listing
from swiftbox.hub.listing import (
    Listing,
    RemoteFile,
    duplicates,
    require_apart,
    require_inside,
    require_safe,
    select,
    unsafe,
)
from swiftbox.models.download_request import DownloadRequest, parse_request
from swiftbox.models.verified import MARKER

ONE = DownloadRequest("o/n")


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 1) for path in paths]


def chosen(paths: list[str], remote_file: DownloadRequest = ONE) -> list[str]:
    return [file.path for file in select(files(*paths), remote_file)]


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/x",
        "a/../../x",
        "/etc/x",
        "~/x",
        "C:/x",
        "c:x",
        "a\\..\\x",
        "a//x",
        "./x",
        "a/.",
        "",
        "a\nb",
        "a\x00b",
        "a\x7f",
        "x" * 256,
        MARKER,
        f"sub/{MARKER}",
    ],
)
def test_a_name_that_leaves_its_folder_is_refused(path: str) -> None:
    assert unsafe(path)


@pytest.mark.parametrize("path", ["config.json", "a/b/c.bin", "a..b", "...x", "模型.json", "a b"])
def test_a_plain_name_is_accepted(path: str) -> None:
    assert unsafe(path) == ""


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "sub").symlink_to(outside)
    with pytest.raises(HubError, match="leads outside"):
        require_inside([("sub/x", folder / "sub/x")], folder)
    require_inside([("other/x", folder / "other/x")], folder)


@pytest.mark.parametrize("name", ["x", "x.incomplete"])
def test_a_file_that_is_itself_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "precious")
    places = [("x", folder / "x"), ("x", folder / "x.incomplete")]
    with pytest.raises(HubError, match="leads outside") as caught:
        require_inside(places, folder)
    assert str(folder / name) in caught.value.hint


def test_a_link_within_the_folder_is_accepted_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots/x").symlink_to("../blobs/hash")
    require_inside([("x", tmp_path / "snapshots/x")], tmp_path)
    with pytest.raises(HubError):
        require_inside([("x", tmp_path / "snapshots/x")], tmp_path / "snapshots")


@pytest.mark.parametrize(
    "file",
    [
        RemoteFile("x", 1, sha256="../../../escaped"),
        RemoteFile("x", 1, blob="/tmp/escaped"),
    ],
)
def test_a_hash_from_the_hub_names_no_file_outside_the_cache(
    tmp_path: Path, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from swiftbox.hub.from_huggingface import HuggingFace

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    client, request = HuggingFace("http://127.0.0.1:9"), parse_request("o/n", hub="huggingface")
    listed = Listing((file,), "main", COMMIT)
    with pytest.raises(HubError, match="is not a hash in hex digits"):
        client.partial(request, client.folder(request, listed), file)
    with pytest.raises(HubError, match="is not a hash in hex digits; nothing was fetched"):
        require_safe(listed, request)


def test_a_commit_from_the_hub_names_no_folder_outside_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from swiftbox.hub.from_huggingface import HuggingFace

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    client, request = HuggingFace("http://127.0.0.1:9"), parse_request("o/n", hub="huggingface")
    with pytest.raises(HubError, match="escaped"):
        client.folder(request, Listing((), "main", "../../../escaped"))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "a"], "same path"),
        (["a", "a/b"], "both a file and a folder"),
        (["a", "a.incomplete"], "while a file is fetched"),
    ],
)
def test_files_that_share_a_path_are_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        require_apart([RemoteFile(name, 1) for name in names], tmp_path)


def test_names_that_differ_in_case_alone_are_refused_where_the_disk_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [RemoteFile("README.md", 1), RemoteFile("readme.MD", 1)]
    monkeypatch.setattr(listing, "ignores_case", lambda _: True)
    with pytest.raises(HubError, match="same path"):
        require_apart(files, tmp_path)
    monkeypatch.setattr(listing, "ignores_case", lambda _: False)
    require_apart(files, tmp_path)


def test_weights_that_repeat_safetensors_are_left_out() -> None:
    paths = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "original/consolidated.00.pth",
    ]
    paths += ["onnx/model.onnx", "tf_model.h5", "model-q4.gguf", "tokenizer.model"]
    assert chosen(paths) == ["config.json", "model.safetensors", "tokenizer.model"]


def test_without_safetensors_nothing_is_left_out() -> None:
    paths = ["config.json", "pytorch_model.bin", "original/x.pth"]
    assert chosen(paths) == paths


def test_other_folders_keep_their_only_weights() -> None:
    paths = ["lm/model.safetensors", "campplus.onnx", "voice/flow.pt", "lm/pytorch_model.bin"]
    assert chosen(paths) == ["lm/model.safetensors", "campplus.onnx", "voice/flow.pt"]


def test_one_file_of_all_weights_beside_its_shards_is_left_out() -> None:
    paths = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert duplicates(files(*paths, "consolidated.safetensors")) == {"consolidated.safetensors"}
    assert duplicates(files("consolidated.safetensors")) == frozenset()


def test_patterns_of_the_user_decide_alone() -> None:
    paths = ["config.json", "model.safetensors", "model.bin", "original/x.pth"]
    assert chosen(paths, replace(ONE, allow=("*.bin",))) == ["model.bin"]
    assert chosen(paths, replace(ONE, ignore=())) == paths
    assert chosen(paths, replace(ONE, ignore=("original/", "*.bin"))) == paths[:2]


def test_a_dataset_is_fetched_completely() -> None:
    paths = ["a.safetensors", "a.bin"]
    assert chosen(paths, replace(ONE, kind="dataset")) == paths


def test_an_id_with_a_colon_means_a_subfolder() -> None:
    remote_file = parse_request("o/n:base")
    assert (remote_file.id, remote_file.subfolder, remote_file.name) == ("o/n", "base", "o/n:base")
    assert chosen(["base/config.json", "audio/config.json", "README.md"], remote_file) == [
        "base/config.json"
    ]


@pytest.mark.parametrize("name", ["n", "o/n/x", "o/..", "../n", "o/n:../x", "o /n", "o/n:", "/n"])
def test_an_invalid_id_is_refused(name: str) -> None:
    if name == "o/n:":
        assert parse_request(name).subfolder is None
        return
    with pytest.raises(HubError, match="is not an id of a hub"):
        parse_request(name)
