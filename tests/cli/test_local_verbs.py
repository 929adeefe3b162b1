"""`swiftbox models --local`: what is here is listed, verified, and removed when that is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folder import write_model

from swiftbox.cli.main import main
from swiftbox.formatting import size
from swiftbox.models.verified import Marker, Origin, sha256_of


@pytest.fixture(autouse=True)
def cached_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    return capsys.readouterr().out


def test_local_models_are_listed_with_size_and_folder(
    cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = output(capsys, "models", "--local").splitlines()
    disk = size(sum(path.stat().st_size for path in cached_model.iterdir()))
    assert lines[1].split() == ["o/n", "modelscope", *disk.split(), "complete"]
    assert lines[2].strip() == str(cached_model)
    assert max(map(len, lines[:2])) <= 80


def test_the_list_is_also_available_as_json(
    cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = json.loads(output(capsys, "models", "--local", "--json"))
    assert (row["id"], row["folder"], row["complete"]) == ("o/n", str(cached_model), True)
    assert row["bytes"] == sum(path.stat().st_size for path in cached_model.iterdir())
    assert json.loads(output(capsys, "models", "other", "--local", "--json")) == []


def test_a_dataset_is_listed_among_datasets_only(
    cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cached_model.parents[3] / "datasets/o--d/snapshots/master"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("{}\n")
    rows = json.loads(output(capsys, "datasets", "--local", "--json"))
    assert [row["id"] for row in rows] == ["o/d"]


def test_an_intact_model_passes_verification(capsys: pytest.CaptureFixture[str]) -> None:
    assert "o/n: ok (5 files are unchanged" in output(capsys, "models", "o/n", "--verify")


def test_a_changed_byte_is_detected_by_hashing_again(
    cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((cached_model / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (cached_model / "model.safetensors").write_bytes(content)
    shown = output(capsys, "models", "--verify", code=1)
    assert "NOT ok" in shown
    assert "changed: model.safetensors" in shown
    assert "swiftbox download o/n" in shown


def test_a_missing_file_is_detected(cached_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cached_model / "tokenizer.json").unlink()
    (row,) = json.loads(output(capsys, "models", "--verify", "--json", code=1))
    assert row["missing"] == ["tokenizer.json"]
    assert not row["ok"]


def test_a_model_without_recorded_hashes_is_checked_by_its_headers(
    cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cached_model / ".swiftbox-verified.json").unlink()
    assert "no recorded hashes" in output(capsys, "models", "--verify")


def test_removing_requires_confirmation(
    cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "o/n", "--remove"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert cached_model.is_dir()


def test_removing_deletes_all_files(cached_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "removed o/n" in output(capsys, "models", "O/N", "--remove", "--yes")
    assert not cached_model.parents[1].exists()


@pytest.mark.parametrize("names", [[], ["o"], ["o/n", "o/other"]])
def test_only_exact_names_are_removed(
    names: list[str], cached_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *names, "--remove", "--yes"]) == 2
    assert "as `swiftbox models --local` lists them" in capsys.readouterr().err
    assert cached_model.is_dir()
