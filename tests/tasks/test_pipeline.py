"""A pipeline before it starts: settled, checked, forecast; and the marks of its steps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from made_up import made_up

from swiftbox import worker
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.writing import write
from swiftbox.core.generation.parity import RECORD
from swiftbox.devices.backends import BACKENDS
from swiftbox.errors import ConfigError, MachineError, RunError, UserError
from swiftbox.files import write_json
from swiftbox.fit.forecast import Forecast, StepForecast
from swiftbox.launch.prepare import (
    check_config,
    prepare_loaded,
    require_same_settings,
    with_absolute_paths,
)
from swiftbox.plan import plan
from swiftbox.runs import child as nested
from swiftbox.runs.child import BackgroundRun
from swiftbox.runs.folder import SETTLED, Run, append_event
from swiftbox.runs.supervise import Child
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, loads
from swiftbox.tasks.pipeline import state as pipeline_state
from swiftbox.tasks.pipeline.chain import blocks, chain
from swiftbox.tasks.pipeline.outline import outline
from swiftbox.tasks.pipeline.run import Pipeline
from swiftbox.tasks.pipeline.state import Record, identity, mark
from swiftbox.tasks.pipeline.task import _require_servable

REFERENCES = {"model": "${a.model}", "adapter": "${b.adapter}", "dataset": "${a.dataset}"}
SAMPLE = {"benchmarks": "sample_ceval"}
VLLM = ", or d.engine: vllm"
OFFLINE = {"benchmarks": "sample_ceval", "prompt": "hi"}


def read(*steps: dict[str, Any], **keys: Any) -> Loaded:
    content = {"task": "pipeline", **keys, "steps": [{"name": "n", **one} for one in steps]}
    return loads(yaml.safe_dump(content, sort_keys=False), source="p.yaml")


def settled(*steps: dict[str, Any], machine: str = "cpu") -> PipelineConfig:
    config = plan(read(*steps).config, made_up(machine)).config
    assert isinstance(config, PipelineConfig)
    return config


STARTER = {"name": "a", "task": "starter"}
TRAIN = {"name": "b", "task": "train", "model": "${a.model}", "dataset": "${a.dataset}#9"}
MERGE = {"name": "c", "task": "merge", "adapter": "${b.adapter}"}
SERVE = {"name": "d", "task": "deploy", "model": "${c.model}", "port": 0, "engine": "builtin"}


def test_a_step_is_settled_without_what_earlier_ones_make() -> None:
    found = plan(read(STARTER, TRAIN, MERGE, SERVE).config, made_up("h100"))
    config: Any = found.config
    assert config.steps[1].config.dtype == "bfloat16"
    assert config.steps[1].config.model == "${a.model}"
    assert {"b.dtype", "c.merge_base", "d.engine"} <= {one.key for one in found.notes}
    assert found.processes == 1


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("name", sorted(set(TASKS) - {"pipeline"}))
def test_every_task_takes_references_as_what_is_still_to_come(name: str, backend: str) -> None:
    task = TASKS[name]
    keys = task.config_classes[task.default].model_fields
    given = {key: one for key, one in (REFERENCES | OFFLINE).items() if key in keys}
    config = loads(
        "", source="t", overrides=[f"task={name}", *(f"{k}={v}" for k, v in given.items())]
    )
    try:
        resolved = task.resolve(config.config, made_up(backend)).config
    except MachineError:
        return  # the backend's own row says so
    with_absolute_paths(resolved)
    if name == "deploy":
        resolved = resolved.model_copy(update={"port": 0})
    check_config(with_absolute_paths(resolved))


def test_what_is_wrong_with_any_step_is_said_at_once(tmp_path: Path) -> None:
    wrong = [
        {**TRAIN, "hub": "local", "model": str(tmp_path / "no model")},
        {**MERGE, "adapter": str(tmp_path / "no adapter")},
    ]
    with pytest.raises(UserError) as caught:
        check_config(settled(STARTER, *wrong))
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("b: model: no folder")
    assert lines[1].startswith("c: adapter: no folder")


def test_a_machine_that_cannot_is_said_with_the_step() -> None:
    with pytest.raises(MachineError, match=r"^d: engine: vllm: "):
        settled(STARTER, TRAIN, MERGE, {**SERVE, "engine": "vllm"})


def test_a_server_for_nobody_is_refused() -> None:
    server = {**SERVE, "name": "s", "model": "${a.model}"}
    with pytest.raises(ConfigError, match=r"no later step uses \$\{s.url\}"):
        check_config(settled(STARTER, server, TRAIN))


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "w8a8", "gguf"])
@pytest.mark.parametrize(
    ("user", "cure"),
    [
        ({"task": "deploy", "model": "${q.model}", "port": 0}, VLLM),
        ({"task": "evaluate", "model": "o/m", "compare": {"q": "${q.model}"}, **SAMPLE}, VLLM),
        ({"task": "chat", "model": "${q.model}", "prompt": "hi"}, ""),
    ],
)
def test_what_its_server_cannot_load_is_refused_before_the_start(
    method: str, user: dict[str, Any], cure: str
) -> None:
    quantize = {"name": "q", "task": "quantize", "model": "o/m", "method": method}
    config: Any = settled(quantize, {**user, "name": "d"}, machine="h100")
    with pytest.raises(ConfigError, match=rf"what q makes \(method: {method}\)") as caught:
        _require_servable(config, config.steps[1])
    with pytest.raises(UserError, match=r"(?m)^d: the builtin server cannot load"):
        check_config(config)
    assert caught.value.hint == "set q.method: bnb" + cure * (method != "gguf")
    sound: Any = settled({**quantize, "method": "bnb"}, {**user, "name": "d"}, machine="h100")
    _require_servable(sound, sound.steps[1])
    if cure and method != "gguf":
        other = config.steps[1].config.model_copy(update={"engine": "vllm"})
        _require_servable(config, config.steps[1].model_copy(update={"config": other}))


def test_relative_paths_of_every_step_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text("{}\n", encoding="utf-8")
    placed: Any = with_absolute_paths(settled({**TRAIN, "model": "m", "dataset": "d.jsonl"}))
    assert placed.steps[0].config.dataset == str(tmp_path / "d.jsonl")


def test_the_plan_of_the_whole_sums_room_and_takes_the_most_memory() -> None:
    fetch = {"name": "f", "task": "download", "model": "Qwen/Qwen3-0.6B"}
    train = {"name": "b", "task": "train", "model": "${f.model}", "dataset": "o/d"}
    merge = {**MERGE, "name": "c"}
    found = outline(settled(fetch, train, merge, SERVE), made_up("cpu"), {})
    takes = [one.takes for one in found.steps]
    assert all(takes)
    assert found.disk_bytes == sum(one.disk_bytes for one in takes if one)
    assert found.memory_bytes == max(one.memory_bytes or 0 for one in takes if one)
    fetched, trained, merged, served = (one.disk_bytes if one else 0 for one in takes)
    assert 1.0e9 < fetched < 1.8e9
    assert trained < fetched  # it is here by then
    assert merged == pytest.approx(fetched, rel=0.01)
    assert served == 0
    assert found.lines()[-1].startswith("in all: disk 2.")
    assert found.lines()[-1].endswith("time not known")  # no row of the data is here
    timed = StepForecast("b", "train", Forecast(1.0, None, 60.0))
    assert "not known" not in replace(found, steps=(*found.steps, timed)).lines()[-1]


def test_a_model_that_is_to_be_made_has_a_shape_already() -> None:
    found = prepare_loaded(read(STARTER, TRAIN, MERGE, SERVE))
    assert found.forecast is not None
    assert all(one.takes for one in found.forecast.steps)
    assert found.outline[0].startswith("1/4 a: starter")
    assert "model ${a.model}" in found.outline[1]


def marks(config: PipelineConfig) -> dict[str, str]:
    records: dict[str, Record] = {}
    for step in config.steps:
        record = Record(step.name, step.config.task, "x", mark=mark(step, records), finished=1.0)
        records[step.name] = record
    return {name: one.mark for name, one in records.items()}


def test_a_changed_setting_changes_the_mark_of_its_step_and_of_those_that_use_it() -> None:
    before = marks(settled(STARTER, TRAIN, MERGE, SERVE))
    after = marks(settled(STARTER, {**TRAIN, "seed": 9}, MERGE, SERVE))
    assert [before[name] == after[name] for name in "abcd"] == [True, False, False, False]
    same = marks(settled(STARTER, {**TRAIN, "logging_steps": 7}, MERGE, SERVE))
    assert same == before  # which leaves the result as it is


def test_what_a_server_serves_changes_the_mark_of_who_asks_it() -> None:
    server = {**SERVE, "name": "s", "model": "o/m"}
    ask = {"name": "t", "task": "chat", "endpoint": "${s.url}", "prompt": "hi"}
    before = marks(settled(server, ask))
    after = marks(settled({**server, "model": "o/other"}, ask))
    assert [before[name] == after[name] for name in "st"] == [False, False]
    here = marks(settled({**ask, "endpoint": "http://127.0.0.1:1"}))
    assert here != marks(settled({**ask, "endpoint": "http://127.0.0.1:2"}))


def test_a_mirror_leaves_what_is_fetched() -> None:
    fetch = {"name": "f", "task": "download", "model": "o/m"}
    mirror = {**fetch, "endpoint": "https://mirror.example"}
    assert marks(settled(fetch)) == marks(settled(mirror))


def test_a_changed_file_changes_the_mark(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    config = settled({**TRAIN, "model": "o/m", "dataset": f"{data}#5"})
    before = marks(config)
    assert marks(config) == before
    was = data.stat()
    os.utime(data, (1, 1))
    assert marks(config) == before  # it says the same
    data.write_text("[]\n", encoding="utf-8")
    os.utime(data, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert marks(config) != before
    folder = settled({**TRAIN, "model": str(tmp_path), "dataset": "o/d"})
    before = marks(folder)
    (tmp_path / "more").write_text("x", encoding="utf-8")
    assert marks(folder) != before


def test_weights_and_much_data_are_known_by_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, rows = tmp_path / "model.safetensors", tmp_path / "rows.jsonl"
    for one in (weights, rows):
        one.write_text("x", encoding="utf-8")
    before = identity(tmp_path)
    os.utime(rows, (1, 1))
    (tmp_path / RECORD).write_text("{}", encoding="utf-8")  # which a server of it writes
    (tmp_path / ".marker").write_text("{}", encoding="utf-8")
    assert identity(tmp_path) == before
    os.utime(weights, (1, 1))
    assert identity(tmp_path) != before
    monkeypatch.setattr(pipeline_state, "HASHED_BYTES", 0)
    before = identity(rows)
    os.utime(rows, (2, 2))
    assert identity(rows) != before


def test_a_step_done_again_changes_the_mark_of_those_that_use_it() -> None:
    config = settled(STARTER, TRAIN)
    once = {"a": Record("a", "starter", "x", mark="m", finished=1.0)}
    again = {"a": Record("a", "starter", "x", mark="m", finished=2.0)}
    assert mark(config.steps[1], once) != mark(config.steps[1], again)


def test_a_chain_is_written_from_a_few_choices() -> None:
    text = chain({"model": "o/m", "dataset": "d", "seed": 3}, ["deploy", "train", "merge"])
    config: Any = loads(text, source="c.yaml").config
    assert [one.name for one in config.steps] == ["train", "merge", "deploy"]
    assert config.steps[0].config.seed == 3
    assert config.steps[2].config.model == "${merge.model}"


def test_a_chain_refers_to_what_is_there() -> None:
    whole = blocks(
        {"model": "m", "dataset": "d", "tuner_type": "full", "quantize.bits": 4},
        ["download", "train", "merge", "quantize", "evaluate", "deploy"],
    )
    named = {one.pop("name"): one for one in whole}
    assert "merge" not in named
    assert named["train"]["model"] == "${download.model}"
    assert named["quantize"] == {"task": "quantize", "model": "${train.model}", "bits": 4}
    assert named["evaluate"] == {
        "task": "evaluate",
        "model": "${download.model}",
        "compare": {"tuned": "${train.model}", "quantized": "${quantize.model}"},
    }
    assert named["deploy"]["model"] == "${quantize.model}"


def test_a_chain_without_a_merge_serves_base_and_adapter() -> None:
    (_, served) = blocks({"model": "m", "hub": "local", "dataset": "d"}, ["train", "deploy"])
    assert (served["model"], served["adapter"]) == ("m", "${train.adapter}")


def test_a_server_that_died_between_steps_says_why(tmp_path: Path) -> None:
    ask = {"name": "t", "task": "chat", "endpoint": "${d.url}", "prompt": "hi"}
    write_json(tmp_path / "machine.json", made_up("cpu").to_dict())
    config = settled({**SERVE, "model": "o/m"}, ask)
    running = Pipeline(config, tmp_path, lambda *_, **__: None)
    place = tmp_path / "steps" / "01-d"
    place.mkdir(parents=True)
    server = BackgroundRun(place, Child([sys.executable, "-c", "raise SystemExit(3)"], {}))
    with pytest.raises(RunError):
        server.wait_for("serving", timeout_s=60, stop=Event())
    append_event(place, "failed", message="out of memory", hint="a smaller cache")
    running.servers["d"] = server
    with pytest.raises(RunError, match="01-d: out of memory"):
        running._servers_for(config.steps[1])


def test_a_step_left_behind_has_the_time_to_save_that_its_worker_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    told: list[str] = []

    def wait_for_orphan(
        _: Path, *, timeout_s: float, on_wait: Callable[[], None], **__: Any
    ) -> bool:
        asked.append(timeout_s)
        on_wait()
        return False

    monkeypatch.setattr(nested, "wait_for_orphan", wait_for_orphan)
    write_json(tmp_path / "machine.json", made_up("cpu").to_dict())
    config = settled(STARTER)
    running = Pipeline(config, tmp_path, lambda _, message: told.append(message))
    assert not running._alone(Record("a", "starter", "steps/01-a"))
    assert asked == [worker.SAVE_TIMEOUT_S]
    assert told[0].startswith("a was left behind")


def test_answers_of_two_servers_are_not_mixed(tmp_path: Path) -> None:
    def asking(port: int) -> Any:
        given = ["task=evaluate", "benchmarks=sample_ceval", f"endpoint=http://127.0.0.1:{port}"]
        return loads("", source="t", overrides=given).config

    (tmp_path / SETTLED).write_text(write(asking(1)), encoding="utf-8")
    run = Run(tmp_path, {})
    require_same_settings(run, asking(1))
    with pytest.raises(RunError, match=r"^endpoint: .*:1, now http://127.0.0.1:2 is requested"):
        require_same_settings(run, asking(2))
