"""What is on this machine is found in all layouts of the caches, and removed without harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from swiftbox.errors import HubError
from swiftbox.files import file_lock, named_lock
from swiftbox.models.local import LocalArtifact, list_local, remove
from swiftbox.models.verified import Marker, Origin
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    return tmp_path


def make(folder: Path, *shards: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}', "utf-8")
    for name in shards or ("model.safetensors",):
        save_file({"w": np.zeros(4, np.float32)}, folder / name)
    return folder


def make_hf(root: Path, name: str = "models--o--n", commit: str = "c1") -> Path:
    """Lay a repository out as that cache does: blobs, and snapshots of links to them."""
    blobs, snapshot = root / name / "blobs", root / name / "snapshots" / commit
    model_folder = make(root / name / "made")
    blobs.mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    for file in model_folder.iterdir():
        file.replace(blobs / f"hash-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/hash-{file.name}")
    model_folder.rmdir()
    return snapshot


def only(artifacts: list[LocalArtifact]) -> LocalArtifact:
    assert len(artifacts) == 1
    return artifacts[0]


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("models/o--n1.5", "snapshots/master"),
        ("models/o/n1___5", "."),
        ("hub/models/o/n1___5", "."),
        ("hub/o/n1___5", "."),
        ("o/n1___5", "."),
    ],
)
def test_every_layout_of_modelscopes_cache_is_known(place: str, folder: str, caches: Path) -> None:
    model_folder = make(caches / "ms" / place / folder)
    artifact = only(list_local())
    assert (artifact.id, artifact.location, artifact.folder) == (
        "o/n1.5",
        "modelscope",
        model_folder,
    )
    assert artifact.complete
    assert artifact.size_bytes == sum(file.stat().st_size for file in model_folder.iterdir())


def test_datasets_and_models_are_distinguished(caches: Path) -> None:
    make(caches / "ms/models/o--n/snapshots/master")
    (caches / "ms/datasets/o--d/snapshots/master").mkdir(parents=True)
    (caches / "ms/datasets/o--d/snapshots/master/train.jsonl").write_text("{}")
    make_hf(caches / "hf/hub", "datasets--a--b")
    assert [artifact.id for artifact in list_local()] == ["o/n"]
    assert [
        (artifact.id, artifact.location, artifact.complete) for artifact in list_local("dataset")
    ] == [
        ("o/d", "modelscope", True),
        ("a/b", "huggingface", True),
    ]


def test_internal_files_of_the_sdk_are_not_a_model(caches: Path) -> None:
    (caches / "ms/hub/ast_indexer/x").mkdir(parents=True)
    (caches / "ms/agent/staging").mkdir(parents=True)
    assert list_local() == []


def test_the_bytes_behind_links_are_counted_once(caches: Path) -> None:
    first = make_hf(caches / "hf/hub")
    second = first.with_name("c2")
    second.mkdir()
    for file in first.iterdir():
        (second / file.name).symlink_to(os.readlink(file))
    blobs = sum(file.stat().st_size for file in (caches / "hf/hub/models--o--n/blobs").iterdir())
    links = sum(file.lstat().st_size for file in (*first.iterdir(), *second.iterdir()))
    assert only(list_local()).size_bytes == blobs + links


def test_the_snapshot_of_the_usual_branch_is_the_one_to_use(caches: Path) -> None:
    make_hf(caches / "hf/hub", commit="aaa")
    (caches / "hf/hub/models--o--n/snapshots/zzz").mkdir()
    (caches / "hf/hub/models--o--n/refs").mkdir()
    (caches / "hf/hub/models--o--n/refs/main").write_text("aaa")
    artifact = only(list_local())
    assert artifact.folder.name == "aaa"
    assert artifact.complete


@pytest.mark.parametrize(
    ("name", "where"),
    [("HF_HUB_CACHE", "other"), ("HUGGINGFACE_HUB_CACHE", "other"), ("HF_HOME", "other/hub")],
)
def test_the_other_cache_is_where_its_variables_say(
    name: str, where: str, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(caches / "other"))
    make_hf(caches / where, "models--gpt2")
    assert only(list_local()).id == "gpt2"


def lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def stop_half_way(folder: Path) -> None:
    origin = Origin("modelscope", "o/n", "model", "master", None)
    Marker(folder).begin(origin)


def lose_a_recorded_file(folder: Path) -> None:
    (folder / "vocab.txt").write_text("a")
    marker = Marker(folder, Origin("modelscope", "o/n", "model", "master", None))
    marker.add("vocab.txt", "0" * 64)
    marker.end("")
    (folder / "vocab.txt").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.safetensors.incomplete").write_text("x"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors.index.json").write_text("{"),
        lambda folder: (folder / "vocab.txt").symlink_to("gone"),
        lose_a_shard,
        stop_half_way,
        lose_a_recorded_file,
    ],
)
def test_a_model_with_a_missing_file_is_incomplete(spoil: object, caches: Path) -> None:
    folder = make(caches / "ms/models/o--n/snapshots/master")
    assert only(list_local()).complete
    spoil(folder)
    assert not only(list_local()).complete


def test_a_blob_still_being_fetched_makes_the_repository_incomplete(caches: Path) -> None:
    make_hf(caches / "hf/hub")
    (caches / "hf/hub/models--o--n/blobs/abc.incomplete").write_bytes(b"x")
    assert not only(list_local()).complete


def test_models_below_the_current_folder_are_named_as_a_config_names_them(caches: Path) -> None:
    make(caches / "desk/models/mine")
    make(caches / "desk/a/b/c/too/deep")
    make(caches / "desk/.hidden/model")
    artifact = only(list_local())
    assert (artifact.id, artifact.location) == ("./models/mine", "folder")


def test_given_folders_are_searched_too_and_nothing_is_listed_twice(
    caches: Path,
) -> None:
    make(caches / "far/one")
    assert [
        artifact.id for artifact in list_local(folders=[caches / "far", caches / "far/one"])
    ] == [str(caches / "far/one")]


def test_a_cache_below_the_current_folder_is_not_listed_twice(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(caches / "ms/models/o--n/snapshots/master")
    monkeypatch.chdir(caches / "ms")
    assert only(list_local()).location == "modelscope"


def test_folders_without_files_are_not_listed(caches: Path) -> None:
    (caches / "ms/models/o--n/snapshots/master").mkdir(parents=True)
    assert list_local() == []


def test_results_with_the_same_name_are_distinguished_by_their_folders(caches: Path) -> None:
    folders = [caches / "one/run", caches / "two/run"]
    for folder in folders:
        model_folder = create(folder)
        run_folder.update_state(model_folder, status="done")
        make(model_folder / "model")
    assert {artifact.id for artifact in list_local()} == {
        str(folder / "model") for folder in folders
    }


def test_only_the_complete_model_of_a_run_is_listed(caches: Path) -> None:
    for name in ("whole", "adapter"):
        run = create(caches / "elsewhere" / name)
        run_folder.update_state(run, status="done")
        make(run / "checkpoints/checkpoint-5")
        (run / "model").mkdir()
    make(caches / "elsewhere/whole/model")
    (caches / "elsewhere/adapter/model/adapter_config.json").write_text("{}")
    artifact = only(list_local())
    assert (artifact.id, artifact.location) == ("whole", "folder")
    assert artifact.folder == caches / "elsewhere/whole/model"


def test_circular_links_and_unreadable_folders_are_skipped(caches: Path) -> None:
    folder = make(caches / "ms/models/o--n/snapshots/master")
    (folder / "again").symlink_to(folder)
    (caches / "desk/round").symlink_to(caches / "desk")
    closed = caches / "desk/closed"
    closed.mkdir(mode=0o000)
    try:
        assert only(list_local()).complete
    finally:
        closed.chmod(0o700)


def test_removing_frees_the_reported_bytes_and_nothing_else(caches: Path) -> None:
    make_hf(caches / "hf/hub")
    other = make_hf(caches / "hf/hub", "models--o--other")
    first = next(artifact for artifact in list_local() if artifact.id == "o/n")
    assert remove(first) == first.size_bytes
    assert not (caches / "hf/hub/models--o--n").exists()
    assert (other / "model.safetensors").read_bytes()
    assert only(list_local()).id == "o/other"


def test_removing_never_follows_a_link_out_of_the_cache(caches: Path) -> None:
    precious = make(caches / "precious")
    folder = make(caches / "ms/models/o--n/snapshots/master")
    (folder / "link").symlink_to(precious)
    (folder / "file").symlink_to(precious / "model.safetensors")
    remove(only(list_local()))
    assert not folder.exists()
    assert (precious / "model.safetensors").is_file()


@pytest.mark.parametrize("link", ["ms/models/o--n", "ms/models/o--n/snapshots", "ms/hub"])
def test_files_linked_into_a_cache_are_not_removed(link: str, caches: Path) -> None:
    folder = make(caches / "precious/models/o--n/snapshots/master")
    (caches / link).parent.mkdir(parents=True, exist_ok=True)
    target = {"o--n": "models/o--n", "snapshots": "models/o--n/snapshots", "hub": "."}
    (caches / link).symlink_to(caches / "precious" / target[Path(link).name])
    assert list_local() == []
    claimed = caches / "ms/models/o--n/snapshots/master"
    with pytest.raises(HubError, match="is not in"):
        remove(LocalArtifact("o/n", "model", "modelscope", claimed, 0, complete=True))
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("place", ["precious", "ms", "ms/models", "ms/models/o--n/../.."])
def test_only_listed_repositories_can_be_removed(place: str, caches: Path) -> None:
    make(caches / "precious")
    cached = make(caches / "ms/models/o--n/snapshots/master")
    with pytest.raises(HubError, match="is not in"):
        remove(LocalArtifact("o/n", "model", "modelscope", caches / place, 0, complete=True))
    assert (cached / "model.safetensors").is_file()
    assert (caches / "precious/model.safetensors").is_file()


def test_a_folder_of_the_user_is_not_removed(caches: Path) -> None:
    make(caches / "desk/mine")
    with pytest.raises(HubError, match="is not in a cache"):
        remove(only(list_local()))
    assert (caches / "desk/mine/model.safetensors").is_file()


def test_a_file_with_a_second_name_elsewhere_is_not_counted_as_freed(caches: Path) -> None:
    folder = make(caches / "ms/models/o--n/snapshots/master")
    os.link(folder / "model.safetensors", caches / "second")
    config = (folder / "config.json").stat().st_size
    assert remove(only(list_local())) == config


def test_an_active_download_is_not_removed(caches: Path) -> None:
    folder = make(caches / "ms/models/o--n/snapshots/master")
    with (
        file_lock(named_lock("modelscope-model-o/n")),
        pytest.raises(HubError, match="being downloaded"),
    ):
        remove(only(list_local()))
    assert (folder / "model.safetensors").is_file()
