"""The signature of a record: only this user's swiftbox on this machine can write it."""

from __future__ import annotations

import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from swiftbox.language import home
from swiftbox.security.origin import (
    KEY_FILE,
    is_signed_json,
    is_signed_yaml,
    signed_json,
    signed_yaml,
)

YAML = "task: train\nmodel: a/b\n"


def test_a_signed_record_is_ours() -> None:
    assert is_signed_json("state.json", signed_json("state.json", {"pid": 1, "name": "中"}))
    assert is_signed_yaml("settled.yaml", signed_yaml("settled.yaml", YAML))


def test_a_changed_or_unsigned_record_is_not_ours() -> None:
    signed = signed_json("state.json", {"pid": 1})
    assert not is_signed_json("state.json", {**signed, "pid": 2})
    assert not is_signed_json("state.json", {**signed, "more": 1})
    assert not is_signed_json("pipeline.json", signed)
    assert not is_signed_json("state.json", {"pid": 1})
    assert not is_signed_json("state.json", {"pid": 1, "signature": ["a"]})
    text = signed_yaml("settled.yaml", YAML)
    for changed in (
        YAML,
        text.replace("a/b", "c/d"),
        text + "trust_remote_code: true\n",
        "",
        "\ud800",
    ):
        assert not is_signed_yaml("settled.yaml", changed)


def test_signing_again_replaces_the_signature() -> None:
    signed = signed_json("state.json", {"pid": 1})
    assert signed_json("state.json", signed) == signed


def test_the_key_is_readable_by_the_user_alone() -> None:
    signed_json("state.json", {})
    mode = (home() / KEY_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_torn_key_is_replaced(content: bytes) -> None:
    signed = signed_json("state.json", {})
    (home() / KEY_FILE).write_bytes(content)
    assert not is_signed_json("state.json", signed)
    assert is_signed_json("state.json", signed_json("state.json", {}))


def test_with_another_key_a_record_is_not_ours() -> None:
    signed = signed_json("state.json", {})
    (home() / KEY_FILE).unlink()
    assert not is_signed_json("state.json", signed)


def test_a_key_behind_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(b"k" * 32)
    (home() / KEY_FILE).symlink_to(tmp_path / "known")
    signed = signed_json("state.json", {})
    assert not (home() / KEY_FILE).is_symlink()
    assert (home() / KEY_FILE).read_bytes() != b"k" * 32
    assert is_signed_json("state.json", signed)


def test_without_a_folder_for_the_key_nothing_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "file"))
    assert signed_json("state.json", {"pid": 1}) == {"pid": 1}
    assert signed_yaml("settled.yaml", YAML) == YAML
    assert not is_signed_json("state.json", {"pid": 1, "signature": ""})


def test_processes_that_sign_at_once_share_one_key() -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        records = list(pool.map(signed_json, ["state.json"] * 16, [{"n": n} for n in range(16)]))
    assert all(is_signed_json("state.json", record) for record in records)
