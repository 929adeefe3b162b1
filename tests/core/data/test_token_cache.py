"""Datasets are encoded once, in several processes where that pays, and read from disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_examples import load_examples
from made_up import made_up
from preferences import labeled_answers, pairs
from tiny import train_tokenizer, write_chats, write_config, write_pairs

from swiftbox.core.data import cache as token_cache
from swiftbox.core.data.cache import ExampleEncoder, encoded_samples
from swiftbox.core.data.samples import LabeledAnswer, PreferencePair, PromptSample, Sample, TokenRow
from swiftbox.core.data.storage import StoredSamples, write
from swiftbox.data.check import check_rows
from swiftbox.data.files import dataset_hash
from swiftbox.data.json_layouts import json_layout
from swiftbox.data.source import RowSource
from swiftbox.errors import DataError
from swiftbox.language import home
from swiftbox.methods import METHODS
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load


def encoding(stage: str = "sft", **settings: Any) -> ExampleEncoder:
    method = METHODS[stage]
    config = method.config(model="m", dataset="d", stage=stage, **settings)
    return ExampleEncoder.of(method, train_tokenizer(), config)


def quiet(*_: Any, **__: Any) -> None:
    pass


def run(path: Path, stage: str = "sft", **settings: Any) -> tuple[list[Sample], list[str]]:
    recorded: list[str] = []
    samples, _ = encoded_samples(
        [RowSource(str(path))],
        encoding(stage, **settings),
        lambda _event, **fields: recorded.append(fields.get("key") or fields["message"]),
    )
    return list(samples), recorded


def same(first: Sample, second: Sample) -> bool:
    rows = zip(first.rows, second.rows, strict=True)
    return type(first) is type(second) and all(
        np.array_equal(a.input_ids, b.input_ids) and np.array_equal(a.labels, b.labels)
        for a, b in rows
    )


def prompt(number: int) -> PromptSample:
    row = TokenRow(np.arange(number + 1, dtype=np.int32), np.full(number + 1, -100, np.int32))
    return PromptSample(row, ({"role": "user", "content": "q"},), {"solution": number})


@pytest.mark.parametrize("kind", ["rows", "pairs", "judged", "prompts"])
def test_written_samples_are_read_back(kind: str, tmp_path: Path) -> None:
    samples: list[Sample] = {
        "rows": lambda: [pair.chosen for pair in pairs(5)],
        "pairs": lambda: [PreferencePair(o.chosen, o.rejected, 0.5, True) for o in pairs(5)],
        "judged": lambda: labeled_answers(5),
        "prompts": lambda: [prompt(at) for at in range(5)],
    }[kind]()
    many = samples * 500  # over two batches
    assert write(tmp_path / "a.arrow", many) == 2500
    stored = StoredSamples(tmp_path / "a.arrow")
    assert len(stored) == 2500
    for place in (0, 999, 1000, 2499):
        assert same(stored[place], many[place])
        assert stored.lengths[place] == len(many[place])
        assert stored.trained[place] == many[place].trained
        assert stored.teaches[place] == many[place].teaches
    read, written = stored[1], many[1]
    if isinstance(read, PreferencePair):
        assert (read.margin, read.learns_prompt, read.shared) == (0.5, True, written.shared)
    if isinstance(read, LabeledAnswer):
        assert read.label == written.label
    if isinstance(read, PromptSample):
        assert (read.messages, read.columns) == (written.messages, written.columns)


def test_a_second_run_reads_what_the_first_encoded(tmp_path: Path) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 30)
    first, recorded = run(path)
    second, recorded_again = run(path)
    assert (recorded, recorded_again) == ([], ["tokens"])
    assert all(same(cached, other) for cached, other in zip(first, second, strict=True))


@pytest.mark.parametrize("change", ["rows", "template", "train_on_prompt", "stage"])
def test_a_setting_that_changes_tokens_encodes_again(change: str, tmp_path: Path) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 5)
    before = token_cache.content_key([RowSource(str(path))], encoding())
    other = encoding()
    if change == "rows":
        path.write_text(path.read_text("utf-8").replace("a", "b"), "utf-8")
    elif change == "template":
        other.tokenizer.chat_template += " "
    elif change == "stage":
        other = encoding("pt")
    else:
        other = encoding(train_on_prompt=True)
    assert token_cache.content_key([RowSource(str(path))], other) != before


@pytest.mark.parametrize("change", ["name", "registry", "borders"])
def test_files_that_are_read_otherwise_are_encoded_again(change: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = folder / "a.txt"
    rows.write_text("one\ntwo\n", "utf-8")
    before = token_cache.content_key([RowSource(str(folder))], encoding("pt"))
    if change == "name":
        rows.rename(folder / "a.csv")
    elif change == "borders":
        rows.write_text("one\n", "utf-8")
        (folder / "b.txt").write_text("two\n", "utf-8")
    else:
        entry = {"file_name": "a.txt", "columns": {"prompt": "text"}}
        (folder / "dataset_info.json").write_text(json.dumps({"a": entry}), "utf-8")
    assert token_cache.content_key([RowSource(str(folder))], encoding("pt")) != before


def test_a_setting_that_changes_no_token_uses_the_cache() -> None:
    changed, other = encoding(learning_rate=1.0, max_length=99), encoding()
    assert token_cache.content_key([], changed) == token_cache.content_key([], other)


@pytest.mark.slow
def test_several_processes_encode_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 2600)
    alone, _ = run(path, dataset_num_proc=1)
    for cached in (home() / "cache" / "tokens").iterdir():
        cached.unlink()
    monkeypatch.setattr(token_cache, "PARALLEL_FROM_EXAMPLES", 500)
    together, _ = run(path, dataset_num_proc=2)
    assert len(alone) == len(together) == 2600
    assert all(same(sample, other) for sample, other in zip(alone, together, strict=True))


def test_an_interrupted_encoding_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 30)

    def breaks(where: Path, _samples: Any) -> int:
        where.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(token_cache, "write", breaks)
        with pytest.raises(KeyboardInterrupt):
            run(path)
    samples, recorded = run(path)
    assert len(samples) == 30
    assert recorded == []


def test_a_full_disk_keeps_the_samples_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 7)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token_cache, "write", full)
    samples, recorded = run(path, "dpo")
    assert len(samples) == 7
    assert "the disk is full" in recorded[0]
    assert not list((home() / "cache" / "tokens").glob("*.arrow"))


def test_bad_rows_are_raised_and_leave_nothing(tmp_path: Path) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 3)
    path.write_text(path.read_text("utf-8") + '{"messages": []}\n', "utf-8")
    with pytest.raises(DataError, match=r"chat.jsonl:4"):
        run(path)
    assert not list((home() / "cache" / "tokens").glob("*.arrow"))
    samples, _ = encoded_samples([RowSource(str(path))], encoding(max_bad_rows=1), quiet)
    assert len(samples) == 3


def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "MAX_DATASETS", 2)
    for number in range(4):
        run(write_chats(tmp_path / f"{number}.jsonl", 3, seed=number))
    assert len(list((home() / "cache" / "tokens").glob("*.arrow"))) == 2


@pytest.mark.parametrize(("weight", "least", "most"), [(2.0, 40, 40), (0.5, 4, 16), (1.5, 24, 36)])
def test_a_weight_takes_rows_more_or_less_often(
    weight: float, least: int, most: int, tmp_path: Path
) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 20)
    source = [RowSource(str(path), weight=weight)]
    taken = load_examples(source, stage="sft", max_bad_rows=0, seed=3).examples
    again = load_examples(source, stage="sft", max_bad_rows=0, seed=3).examples
    assert least <= len(taken) <= most
    assert taken == again


def test_a_cached_dataset_is_neither_read_nor_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 20)
    json_layout(path)  # its first two lines are looked at once
    sources, opened, path_open = [RowSource(str(path))], [], Path.open

    def counting(self: Path, *arguments: Any, **named: Any) -> Any:
        opened.extend([self] * (self == path))
        return path_open(self, *arguments, **named)

    data_hash = dataset_hash(sources)
    monkeypatch.setattr(Path, "open", counting)
    encoded_samples(sources, encoding(), quiet, data_hash=data_hash)
    assert len(opened) == 1  # checked and encoded in one pass
    encoded_samples(sources, encoding(), quiet, data_hash=data_hash)
    assert len(opened) == 1
    encoded_samples(sources, encoding(), quiet)
    assert len(opened) == 2  # without the hash, only its bytes are hashed


def test_the_child_of_a_run_reads_the_bytes_of_its_data_once(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_chats(tmp_path / "chat.jsonl", 20)
    json_layout(path)  # its first two lines are looked at once
    config = write_config(tmp_path / "a.yaml", tiny, path, max_steps=1, save_steps=0)
    settled = plan(load(config).config, made_up("cpu")).config
    opened, path_open = [], Path.open

    def counting(self: Path, *arguments: Any, **named: Any) -> Any:
        opened.extend([self] * (self == path))
        return path_open(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", counting)
    for name, reads in (("first", 2), ("second", 1)):  # hash and encode; then only hash
        folder = tmp_path / name
        folder.mkdir()
        opened.clear()
        TASKS["train"].run(settled, folder, quiet)
        assert len(opened) == reads


REFUSED = {"messages": [{"role": "user", "content": "q"}] * 2, "license": "x"}
"""Two turns of a user in a row, which some templates refuse."""


@pytest.mark.parametrize("weight", [None, 2.0, 1.5])
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_run_counts_what_check_counts_where_the_template_refuses_a_row(
    stage: str, weight: float | None, tmp_path: Path
) -> None:
    answers = {"messages": [*REFUSED["messages"], {"role": "assistant", "content": "a"}]}
    refused = {**REFUSED, **answers}
    if stage == "dpo":
        refused["rejected_response"] = "longer"
        path = write_pairs(tmp_path / "rows.jsonl", 3)
    else:
        refused["messages"].append({"role": "user", "content": "bye"})
        path = write_chats(tmp_path / "rows.jsonl", 3)
    path.write_text(f"{path.read_text('utf-8')}{json.dumps(refused)}\n", "utf-8")
    encoder, sources = encoding(stage, max_bad_rows=1), [RowSource(str(path), weight=weight)]
    encoder.tokenizer.chat_template = (
        "{% for m in messages %}{% if loop.index0 % 2 != (m.role == 'assistant') %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }};"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    _, report = encoded_samples(sources, encoder, quiet)
    checked = check_rows(sources, stage=stage, max_bad_rows=1, renderer=encoder.renderer()).data()
    assert checked["bad"] == 1
    assert report == {key: checked[key] for key in report}
