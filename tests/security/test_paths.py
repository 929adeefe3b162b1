"""Outside text that becomes a path: what is refused, and that nothing leaves its root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile_texts import hostile_texts

from swiftbox.errors import HubError, UserError
from swiftbox.security import paths


@pytest.mark.parametrize(
    "name", ["main", "v1.0", "refs/pr/3", "feature/a-b_c", "0123abc", "模型-v2", "a.b", "1.0.0+x"]
)
def test_branches_tags_and_commits_are_revisions(name: str) -> None:
    assert paths.revision(name, source="revision") == name


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../b",
        "/a",
        "a/",
        "a//b",
        "-x",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a\nb",
        "a\0b",
        "x.lock",
        "a/.b",
        "a.",
        "@",
        "a@{1}",
        "",
        ".a",
        "x" * 256,
        "\uff0e\uff0e",
        "a\u202eb",
        "a\xa0b",
        "\u2025/x",
    ],
)
def test_what_git_refuses_as_a_name_is_not_a_revision(name: str) -> None:
    with pytest.raises(UserError, match="revision") as caught:
        paths.revision(name, source="revision")
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert "\0" not in caught.value.message


def test_a_hash_has_hex_digits_and_a_usual_length() -> None:
    for value in ("0" * 40, "a1" * 32):
        assert paths.digest(value, source="sha256") == value
    for value in ("", "0" * 39, "g" * 40, "A" * 40, "../" + "0" * 37, "０" * 40):
        with pytest.raises(UserError, match="hex"):
            paths.commit(value, source="commit")


def test_an_id_is_an_owner_and_a_name() -> None:
    assert paths.repository_id("Qwen/Qwen2.5-0.5B", source="model") == "Qwen/Qwen2.5-0.5B"
    for value in ("a", "a/b/c", "../b", "a/..", ".a/b", "-a/b", "a/b c", "a/\uff0e", "a/b\n"):
        with pytest.raises(UserError, match="owner/name"):
            paths.repository_id(value, source="model")


def test_the_error_is_of_the_kind_that_the_caller_names() -> None:
    with pytest.raises(HubError):
        paths.segment("..", source="name", error=HubError)


def test_no_hostile_text_leaves_its_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for kind, hostile in hostile_texts(2000):
        for join in (paths.inside, paths.relative_file):
            try:
                path = join(root, hostile)
            except UserError:
                continue
            assert path.resolve().is_relative_to(root), (kind, hostile)
            assert path.resolve() != root, (kind, hostile)
            assert not any(part.startswith(".") for part in path.relative_to(root).parts)


def test_a_free_text_becomes_a_harmless_file_name(tmp_path: Path) -> None:
    assert paths.file_name("Qwen/Qwen3-0.6B") == "Qwen-Qwen3-0.6B"
    for _, hostile in hostile_texts(500):
        name = paths.file_name(hostile)
        assert paths.fault_of_segment(name) == ""
        (tmp_path / name).touch()


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (root / "dangling").symlink_to(tmp_path / "gone")
    (root / "circle").symlink_to(root / "circle")
    for name in ("out", "dangling", "circle"):
        with pytest.raises(UserError, match="leads outside"):
            paths.inside(root, name, "file")
        with pytest.raises(UserError, match="leads outside"):
            paths.inside(root, name)


def test_a_link_within_the_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "link").symlink_to("blobs")
    (tmp_path / "root").symlink_to(tmp_path)
    assert paths.inside(tmp_path, "link", "file") == tmp_path / "link" / "file"
    assert paths.inside(tmp_path / "root", "link") == tmp_path / "root" / "link"


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("a", "pipe"):
        with pytest.raises(UserError, match="is not a folder"):
            paths.relative_file(tmp_path, f"{name}/b")
