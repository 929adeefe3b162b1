"""A launch looks once: plan, probe and rows, from the review to the child."""

from __future__ import annotations

import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from box import events
from launching import launch
from made_up import made_up
from tiny import write_chats, write_config

from swiftbox.errors import ConfigError, DataError, RunError, UserError
from swiftbox.launch import prepare as preparing
from swiftbox.launch.fingerprint import fingerprint
from swiftbox.launch.prepare import (
    Prepared,
    prepare,
    prepare_loaded,
    prepare_rerun,
    prepare_resume,
)
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.runs import folder as run_folder
from swiftbox.serving.address import listen_on
from swiftbox.tasks import training_check
from swiftbox.tasks.load import load, loads

REPAINT_S = 0.1


@pytest.fixture
def training(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The YAML of a training of two steps on forty rows."""
    monkeypatch.chdir(tmp_path)
    rows = write_chats(tmp_path / "chat.jsonl", 40)
    return write_config(tmp_path / "a.yaml", tiny, rows, output_dir="out", max_steps=2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this process planned a YAML, probed the machine and read the rows."""
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(preparing, "plan", counted("plan", preparing.plan))
    monkeypatch.setattr(preparing, "probe", counted("probe", preparing.probe))
    monkeypatch.setattr(training_check, "check_rows", counted("rows", training_check.check_rows))
    return counts


def replanned(previous: Prepared, path: Path) -> bool:
    """Tell whether preparing the same YAML again does the work again."""
    return prepare_loaded(load(path), previous=previous) is not previous


@pytest.mark.slow
def test_from_review_to_child_everything_is_read_once(training: Path, calls: Counter[str]) -> None:
    reviewed = prepare_loaded(load(training))
    repainted = prepare_loaded(load(training), previous=reviewed)
    assert repainted is reviewed
    assert launch(repainted) == 0
    assert calls == {"plan": 2, "probe": 1, "rows": 1}  # before and after the rows are read


def test_the_final_plan_knows_the_rows_that_the_check_read(training: Path) -> None:
    free = ["per_device_train_batch_size=auto", "gradient_accumulation_steps=8"]
    prepared = prepare(training, free)
    config = prepared.plan.config.model_dump()
    assert config["per_device_train_batch_size"] * config["gradient_accumulation_steps"] == 8
    why = next(note.why for note in prepared.plan.notes if note.key.startswith("per_device"))
    assert why.startswith("the fastest that fits: ")
    assert "assuming" not in why


def test_a_changed_setting_is_planned_again(training: Path, calls: Counter[str]) -> None:
    reviewed = prepare(training)
    changed = prepare_loaded(load(training, ["lora_rank=4"]), previous=reviewed)
    assert changed.plan.config.model_dump()["lora_rank"] == 4
    assert calls["plan"] == 4  # twice each


def test_changed_rows_are_read_again(training: Path, calls: Counter[str]) -> None:
    reviewed = prepare(training)
    with Path("chat.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"messages": []}\n')
    with pytest.raises(DataError, match="1 of 41 rows is bad"):
        prepare_loaded(load(training), previous=reviewed)
    assert calls["rows"] == 2


def test_a_changed_file_of_the_model_is_noticed(training: Path) -> None:
    reviewed = prepare(training)
    model = Path(reviewed.plan.config.model_dump()["model"])
    assert not replanned(reviewed, training)
    (model / "extra.json").write_text("{}", encoding="utf-8")
    try:
        assert replanned(reviewed, training)
    finally:
        (model / "extra.json").unlink()


def test_what_a_run_writes_does_not_outdate_its_review(training: Path) -> None:
    reviewed = prepare(training)
    record(reviewed)
    assert not replanned(reviewed, training)


def test_a_folder_of_too_many_files_counts_as_changed(
    training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swiftbox.launch.fingerprint.MAX_FILES", 3)
    reviewed = prepare(training)
    assert reviewed.files is None
    assert replanned(reviewed, training)


def test_paths_in_front_of_a_count_or_a_name_are_watched(tmp_path: Path) -> None:
    rows, rewards = tmp_path / "rows.jsonl", tmp_path / "rewards.py"
    for path in (rows, rewards):
        path.write_text("x", encoding="utf-8")
    settings = ["stage=grpo", "model=o/n", f"dataset={rows}#500", f"reward_funcs={rewards}:score"]
    config = loads("", source="t", overrides=settings).config
    assert [Path(state[0]) for state in fingerprint(config) or ()] == [rewards, rows]


def test_resume_and_rerun_prepare_the_same_type(training: Path) -> None:
    ready = record(prepare(training))
    run_folder.update_state(ready.folder, status="stopped", pid=None, supervisor=None)
    resumed, repeated = prepare_resume(ready.folder), prepare_rerun(ready.folder)
    assert (resumed.resumes, repeated.resumes) == (ready.folder, None)
    for prepared in (resumed, repeated):
        assert isinstance(prepared, Prepared)
        assert prepared.rows is not None
        assert prepared.rows.rows == 40
        assert prepared.estimate is not None
    assert record(resumed).folder == ready.folder
    assert record(repeated).folder == ready.folder.with_name("out-2")


def test_a_running_run_is_neither_resumed_nor_overwritten(training: Path) -> None:
    ready = record(prepare(training))  # recorded by this process, which lives
    with pytest.raises(RunError, match="out is still running"):
        prepare_resume(ready.folder)
    assert record(prepare(training)).folder == ready.folder.with_name("out-2")


@pytest.fixture
def busy_port() -> Iterator[tuple[int, socket.socket]]:
    """A free port, and the bound socket that makes it busy once it listens."""
    with listen_on("127.0.0.1", 0) as bound:
        yield bound.getsockname()[1], bound


def test_a_port_that_became_busy_after_the_review_is_refused(
    busy_port: tuple[int, socket.socket], tmp_path: Path, tiny: Path
) -> None:
    port, bound = busy_port
    settings = ["task=deploy", f"model={tiny}", f"port={port}", "engine=builtin"]
    reviewed = prepare(None, [*settings, f"output_dir={tmp_path / 'out'}"])
    bound.listen()
    with pytest.raises(ConfigError, match=f"port: cannot listen on 127.0.0.1:{port}"):
        record(reviewed)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_disk_that_filled_up_after_the_review_is_refused(
    in_pipeline: bool, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = {"task": "quantize", "model": str(tiny), "method": "bnb"}
    content = {"task": "pipeline", "steps": [{"name": "a", **step}]} if in_pipeline else step
    path = tmp_path / "a.yaml"
    path.write_text(
        yaml.safe_dump({**content, "output_dir": str(tmp_path / "out")}), encoding="utf-8"
    )
    reviewed = prepare(path)
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    with pytest.raises(UserError, match="nothing was written"):
        record(reviewed)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "output_dir", ["small/new/run", "here", "auto"], ids=["another disk", "this disk", "a link"]
)
def test_the_free_space_is_that_of_the_disk_of_the_run_folder(
    output_dir: str, training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if output_dir == "auto":
        (tmp_path / "runs").symlink_to(small)
    usage, free = shutil.disk_usage(tmp_path), 12_345

    def disk_usage(path: Path) -> Any:
        is_small = Path(path).resolve().is_relative_to(small.resolve())
        return usage._replace(free=free) if is_small else usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    prepared = prepare(training, [f"output_dir={output_dir}"])
    assert prepared.estimate is not None
    assert prepared.estimate.disk_free == (usage.free if output_dir == "here" else free)


@pytest.mark.slow
def test_a_second_child_finds_the_encoded_rows_by_their_content(training: Path) -> None:
    assert launch(prepare(training)) == 0
    Path("moved").mkdir()
    moved = Path("chat.jsonl").rename("moved/chat.jsonl")
    repeated = record(prepare(training, [f"dataset={moved}"]))
    assert run(repeated) == 0
    notes = [event.get("key") for event in events(repeated.folder, "note")]
    assert "tokens" in notes


def test_a_plan_for_another_machine_is_not_probed_for(training: Path, calls: Counter[str]) -> None:
    prepared = prepare(training, machine=made_up("cpu"))
    assert prepared.machine == made_up("cpu")
    assert calls["probe"] == 0


def test_a_model_of_which_nothing_is_known_is_estimated_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the model was looked up again")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preparing, "estimate", refuse)
    unknown = loads("", source="x", overrides=["model=owner/unknown", "dataset=owner/rows"])
    assert prepare_loaded(unknown, made_up("cuda")).estimate is None


def test_all_problems_are_one_error(training: Path) -> None:
    with pytest.raises(ConfigError) as error:
        prepare(training, ["template=none.jinja", "adapter=./none"])
    assert "template: no file none.jinja" in error.value.message
    assert "adapter" in error.value.message


@pytest.mark.slow
def test_an_unchanged_review_of_many_rows_repaints_at_once(
    tmp_path: Path, tiny: Path, calls: Counter[str]
) -> None:
    row = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}'
    rows = tmp_path / "many.jsonl"
    rows.write_text(f"{row}\n" * 300_000, encoding="utf-8")
    path = write_config(tmp_path / "a.yaml", tiny, rows, output_dir=str(tmp_path / "out"))
    loaded = load(path)
    reviewed = prepare_loaded(loaded)
    assert reviewed.rows is not None
    assert reviewed.rows.rows == 300_000
    seconds = []
    for _ in range(5):
        began = time.process_time()  # of this process: a busy machine changes nothing
        assert prepare_loaded(loaded, previous=reviewed) is reviewed
        seconds.append(time.process_time() - began)
    assert min(seconds) < REPAINT_S, seconds
    assert calls == {"plan": 2, "probe": 1, "rows": 1}  # before and after the rows are read
