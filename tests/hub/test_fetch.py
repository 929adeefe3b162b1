"""From a name to a local path: folders are used as they are, ids are downloaded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from downloading import Desk, same, shards
from fake_hub import COMMIT, Repository, hub

from swiftbox.errors import ConfigError
from swiftbox.hub.fetch import fetch_dataset, fetch_model


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    assert fetch_model(str(tmp_path), hub="modelscope", revision=None).folder == tmp_path


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        fetch_model(str(tmp_path / "x"), hub="local", revision=None)


def test_a_dataset_file_keeps_its_path_and_renames(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n", "utf-8")
    (source,) = fetch_dataset(f"{path}#5", columns={"a": "query"}, hub="local")
    assert (source.path, source.num_samples, source.columns) == (str(path), 5, (("a", "query"),))


FETCH = """
import json
from swiftbox.hub.fetch import fetch_dataset, fetch_model
told = []
def emit(event, **fields):
    told.append({"event": event, **fields})
model = fetch_model("o/n", hub="modelscope", revision=None, emit=emit)
(source,) = fetch_dataset("o/d#3", columns={}, hub="modelscope", emit=emit)
print(json.dumps({"model": str(model.folder), "commit": model.commit, "data": source.path,
                  "rows": source.num_samples, "told": told}))
"""


def test_a_training_fetches_both_and_reports_progress(tmp_path: Path) -> None:
    files = {"a.jsonl": b"{}\n", "b.jsonl.gz": gzip.compress(b"{}\n")}
    data = Repository("o/d", files, kind="dataset")
    model = Repository("o/n", {**shards().files, "old.bin": b"y"})
    with hub(model, data) as server:
        done = Desk(tmp_path, server.address).python(FETCH).fine()
    messages = json.loads(done.out.splitlines()[-1])
    folder = Path(messages["model"])
    assert same(folder, shards())
    assert not (folder / "old.bin").exists()
    assert messages["rows"] == 3
    assert (Path(messages["data"]) / "a.jsonl").is_file()
    notes = [event["message"] for event in messages["told"] if event["event"] == "note"]
    assert "b.jsonl.gz: unpacked from gzip" in notes
    progress = [source for source in messages["told"] if source["event"] == "progress"]
    complete_folder = [source for source in progress if source["what"] == "o/n"][-1]
    assert (
        complete_folder["bytes"]
        == complete_folder["total_bytes"]
        == sum(map(size_of, folder.glob("[a-z]*")))
    )
    assert complete_folder["files_done"] == complete_folder["files_total"] == 5


def size_of(path: Path) -> int:
    return path.stat().st_size


def test_an_unreachable_hub_is_named_with_a_fix(tmp_path: Path) -> None:
    done = Desk(tmp_path).python(FETCH)
    assert done.code == 1
    assert "cannot fetch o/n: no answer from" in done.err


@pytest.mark.slow
def test_a_training_by_ids_fetches_trains_and_records_the_commit(
    tmp_path: Path, tiny: Path, chat_file: Path
) -> None:
    model = {path.name: path.read_bytes() for path in tiny.iterdir() if path.is_file()}
    data = {"train.jsonl": chat_file.read_bytes()}
    config = tmp_path / "a.yaml"
    config.write_text(
        "model: o/n\ndataset: o/d\nval_dataset: o/v\nmax_steps: 1\nreport_to: none\n"
        "output_dir: run\n"
        "gradient_accumulation_steps: 1\n"
    )
    rows = [Repository(name, data, kind="dataset") for name in ("o/d", "o/v")]
    with hub(Repository("o/n", model), *rows) as server:
        done = Desk(tmp_path, server.address).box("run", str(config), "--plain").fine()
    assert "> fetching: o/n" in done.err
    inputs = json.loads((tmp_path / "run" / "inputs.json").read_text())
    assert inputs["revision"] == COMMIT
    assert inputs["val_dataset_sha256"] == inputs["dataset_sha256"]
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").is_file()
