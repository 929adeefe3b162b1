"""`swiftbox models --local`: what is here is listed, verified, and removed when that is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folder import write_model

from swiftbox.cli.main import main
from swiftbox.models.verified import Marker, Origin, sha256_of


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a model that was fetched and recorded, and a desk elsewhere."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    folder = write_model(tmp_path / "ms/models/o--n/snapshots/master")
    marker = Marker(folder)
    marker.begin(Origin("modelscope", "o/n", "model", "master", "c1"))
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            marker.add(path.name, sha256_of(path))
    marker.end("")
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    return capsys.readouterr().out


def test_what_is_here_is_listed_with_its_size_and_folder(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "models", "--local").splitlines()
    assert lines[1].split() == ["o/n", "modelscope", "1k", "whole"]
    assert lines[2].strip() == str(kept)
    assert max(map(len, lines[:2])) <= 80


def test_the_list_is_plain_data_too(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = json.loads(said(capsys, "models", "--local", "--json"))
    assert (row["id"], row["folder"], row["complete"]) == ("o/n", str(kept), True)
    assert row["bytes"] == sum(path.stat().st_size for path in kept.iterdir())
    assert json.loads(said(capsys, "models", "other", "--local", "--json")) == []


def test_a_dataset_is_listed_among_datasets_only(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kept.parents[3] / "datasets/o--d/snapshots/master"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("{}\n")
    rows = json.loads(said(capsys, "datasets", "--local", "--json"))
    assert [one["id"] for one in rows] == ["o/d"]


def test_a_sound_model_is_found_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert "o/n: well (5 files have the contents" in said(capsys, "models", "o/n", "--verify")


def test_a_changed_byte_is_found_by_hashing_again(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((kept / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (kept / "model.safetensors").write_bytes(content)
    shown = said(capsys, "models", "--verify", code=1)
    assert "NOT well" in shown
    assert "changed: model.safetensors" in shown
    assert "swiftbox download o/n" in shown


def test_a_lost_file_is_found(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kept / "tokenizer.json").unlink()
    (row,) = json.loads(said(capsys, "models", "--verify", "--json", code=1))
    assert row["missing"] == ["tokenizer.json"]
    assert not row["ok"]


def test_another_tools_model_is_looked_at_without_sums(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / ".swiftbox-verified.json").unlink()
    assert "no sums to compare" in said(capsys, "models", "--verify")


def test_removing_needs_a_second_word(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "o/n", "--remove"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert kept.is_dir()


def test_removing_takes_the_whole_of_it(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "removed o/n" in said(capsys, "models", "O/N", "--remove", "--yes")
    assert not kept.parents[1].exists()


@pytest.mark.parametrize("names", [[], ["o"], ["o/n", "o/other"]])
def test_only_what_is_named_in_full_is_removed(
    names: list[str], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *names, "--remove", "--yes"]) == 2
    assert "as `swiftbox models --local` lists them" in capsys.readouterr().err
    assert kept.is_dir()
