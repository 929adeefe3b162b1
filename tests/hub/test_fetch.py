"""A model comes from a folder as it is, or through the real SDK from a hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from server import hub

from swiftbox.errors import HubError
from swiftbox.hub.fetch import fetch_dataset, fetch_model

FILES = {
    "config.json": b'{"model_type": "qwen3"}',
    "model.safetensors": b"x" * 5000,
    "old.bin": b"y",
}


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    assert fetch_model(str(tmp_path), hub="modelscope", revision=None) == tmp_path


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no folder"):
        fetch_model(str(tmp_path / "x"), hub="local", revision=None)


def test_a_dataset_file_keeps_its_path_and_renames(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n", "utf-8")
    (source,) = fetch_dataset(f"{path}#5", columns={"a": "query"}, hub="local")
    assert (source.path, source.num_samples, source.columns) == (str(path), 5, (("a", "query"),))


def fetch_in_child(endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "from swiftbox.hub.fetch import fetch_model\n"
        "print(fetch_model('o/n', hub='modelscope', revision=None))"
    )
    env = {
        **os.environ,
        "MODELSCOPE_ENDPOINT": endpoint,
        "MODELSCOPE_CACHE": str(folder / "cache"),
        "HOME": str(folder),
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )


def test_a_model_comes_whole_through_the_real_sdk_without_pickles(tmp_path: Path) -> None:
    with hub(FILES) as (endpoint, _):
        done = fetch_in_child(endpoint, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert (folder / "config.json").is_file()
    assert not (folder / "old.bin").exists()


def test_a_hub_that_is_not_there_is_named_with_a_cure(tmp_path: Path) -> None:
    with hub(FILES) as (endpoint, _):
        pass
    done = fetch_in_child(endpoint, tmp_path)
    assert done.returncode == 1
    assert "cannot fetch o/n from modelscope" in done.stderr
