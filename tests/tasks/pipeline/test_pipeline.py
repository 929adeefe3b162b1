"""A pipeline before it starts: resolved, checked, forecast; and the fingerprints of its steps."""

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
from box import HANG_S
from made_up import made_up

from swiftbox import worker
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.writing import write
from swiftbox.core.generation.parity import RECORD_FILE
from swiftbox.devices.backends import BACKENDS
from swiftbox.errors import ConfigError, MachineError, RunError, UserError
from swiftbox.files import write_json
from swiftbox.fit import forecast as forecasting
from swiftbox.fit.estimate import estimate
from swiftbox.fit.forecast import Forecast, StepForecast
from swiftbox.launch.prepare import (
    check_config,
    prepare_loaded,
    require_same_settings,
    with_absolute_paths,
)
from swiftbox.plan import plan
from swiftbox.runs import child
from swiftbox.runs.child import BackgroundRun
from swiftbox.runs.folder import SETTLED, Run, append_event
from swiftbox.runs.supervise import Child
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, loads
from swiftbox.tasks.pipeline import fingerprint as fingerprints
from swiftbox.tasks.pipeline.chain import chain_blocks
from swiftbox.tasks.pipeline.fingerprint import fingerprint, identity
from swiftbox.tasks.pipeline.outline import outline
from swiftbox.tasks.pipeline.run import PipelineRun
from swiftbox.tasks.pipeline.state import StepRecord
from swiftbox.tasks.pipeline.task import require_loadable

REFERENCES = {"model": "${a.model}", "adapter": "${b.adapter}", "dataset": "${a.dataset}"}
REFERENCES |= {"tuned_model": "${a.model}"}
OF_TASK = {"mix": {"adapter": "['${a.adapter}', '${b.adapter}']", "tuned_model": "null"}}
SAMPLE = {"benchmarks": "sample_ceval"}
OFFLINE = {"benchmarks": "sample_ceval", "prompt": "hi"}


def read(*steps: dict[str, Any], **keys: Any) -> Loaded:
    content = {"task": "pipeline", **keys, "steps": [{"name": "n", **step} for step in steps]}
    return loads(yaml.safe_dump(content, sort_keys=False), source="p.yaml")


def resolved(*steps: dict[str, Any], machine: str = "cpu") -> PipelineConfig:
    config = plan(read(*steps).config, made_up(machine)).config
    assert isinstance(config, PipelineConfig)
    return config


STARTER = {"name": "a", "task": "starter"}
TRAIN = {"name": "b", "task": "train", "model": "${a.model}", "dataset": "${a.dataset}#9"}
MERGE = {"name": "c", "task": "merge", "adapter": "${b.adapter}"}
SERVE = {"name": "d", "task": "deploy", "model": "${c.model}", "port": 0, "engine": "builtin"}


def test_a_step_is_resolved_without_the_outputs_of_earlier_ones() -> None:
    planned = plan(read(STARTER, TRAIN, MERGE, SERVE).config, made_up("h100"))
    config: Any = planned.config
    assert config.steps[1].config.dtype == "bfloat16"
    assert config.steps[1].config.model == "${a.model}"
    assert {"b.dtype", "c.merge_base", "d.engine"} <= {note.key for note in planned.notes}
    assert planned.processes == 1


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("name", sorted(set(TASKS) - {"pipeline"}))
def test_every_task_accepts_references_to_outputs_that_do_not_exist_yet(
    name: str, backend: str
) -> None:
    task = TASKS[name]
    keys = task.config_classes[task.default].model_fields
    values = {**REFERENCES, **OFFLINE, **OF_TASK.get(name, {})}
    settings = [f"{key}={value}" for key, value in values.items() if key in keys]
    config = loads("", source="t", overrides=[f"task={name}", *settings])
    try:
        settled = task.resolve(config.config, made_up(backend)).config
    except MachineError:
        return  # the backend's own row says so
    with_absolute_paths(settled)
    if name == "deploy":
        settled = settled.model_copy(update={"port": 0})
    check_config(with_absolute_paths(settled))


def test_the_errors_of_all_steps_are_reported_at_once(tmp_path: Path) -> None:
    wrong = [
        {**TRAIN, "hub": "local", "model": str(tmp_path / "no model")},
        {**MERGE, "adapter": str(tmp_path / "no adapter")},
    ]
    with pytest.raises(UserError) as caught:
        check_config(resolved(STARTER, *wrong))
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("b: model: no folder")
    assert lines[1].startswith("c: adapter: no folder")


def test_an_error_about_the_machine_names_the_step() -> None:
    with pytest.raises(MachineError, match=r"^d: engine: vllm: "):
        resolved(STARTER, TRAIN, MERGE, {**SERVE, "engine": "vllm"})


def test_a_server_that_no_step_uses_is_refused() -> None:
    server = {**SERVE, "name": "s", "model": "${a.model}"}
    with pytest.raises(ConfigError, match=r"no later step uses \$\{s.url\}"):
        check_config(resolved(STARTER, server, TRAIN))


@pytest.mark.parametrize("method", ["bnb", "gptq", "awq", "fp8", "w8a8"])
@pytest.mark.parametrize(
    "user",
    [
        {"task": "deploy", "model": "${q.model}", "port": 0},
        {"task": "evaluate", "model": "o/m", "compare": {"q": "${q.model}"}, **SAMPLE},
        {"task": "chat", "model": "${q.model}", "prompt": "hi"},
    ],
)
def test_quantized_weights_are_loaded_by_the_server_of_a_step(
    method: str, user: dict[str, Any]
) -> None:
    quantize = {"name": "q", "task": "quantize", "model": "o/m", "method": method}
    config: Any = resolved(quantize, {**user, "name": "d"}, machine="h100")
    require_loadable(config, config.steps[1])


QUANTIZE_GGUF = {"name": "q", "task": "quantize", "model": "o/m", "method": "gguf"}


@pytest.mark.parametrize(
    "user",
    [
        {"task": "evaluate", "model": "o/m", "compare": {"q": "${q.model}"}, **SAMPLE},
        {"task": "chat", "model": "${q.model}", "prompt": "hi"},
    ],
)
def test_a_gguf_file_can_be_evaluated_and_talked_to(user: dict[str, Any]) -> None:
    config: Any = resolved(QUANTIZE_GGUF, {**user, "name": "d"})
    require_loadable(config, config.steps[1])


def test_a_deployment_of_a_gguf_file_takes_llama_cpp_unless_another_engine_is_named() -> None:
    deploy = {"task": "deploy", "model": "${q.model}", "port": 0, "name": "d"}
    config: Any = resolved(QUANTIZE_GGUF, deploy)
    assert config.steps[1].config.engine == "llama_cpp"
    require_loadable(config, config.steps[1])
    other: Any = resolved(QUANTIZE_GGUF, {**deploy, "engine": "builtin"})
    with pytest.raises(ConfigError, match="builtin server cannot load the output of q") as caught:
        require_loadable(other, other.steps[1])
    assert caught.value.hint == "set q.method: bnb, or d.engine: llama_cpp"


def test_relative_paths_of_every_step_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text("{}\n", encoding="utf-8")
    config: Any = with_absolute_paths(resolved({**TRAIN, "model": "m", "dataset": "d.jsonl"}))
    assert config.steps[0].config.dataset == str(tmp_path / "d.jsonl")


def test_a_check_estimates_each_training_of_a_pipeline_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimated: list[str] = []

    def counted(config: Any, *arguments: Any) -> Any:
        estimated.append(config.dataset)
        return estimate(config, *arguments)

    monkeypatch.setattr(forecasting, "estimate", counted)
    fetch = {"name": "f", "task": "download", "model": "Qwen/Qwen3-0.6B"}
    first = {"name": "a", "task": "train", "model": "${f.model}", "dataset": "o/first"}
    second = {"name": "b", "task": "train", "model": "Qwen/Qwen3-4B", "dataset": "o/second"}
    prepared = prepare_loaded(read(fetch, first, second), made_up("cuda"))
    assert estimated == ["o/first", "o/second"]
    assert prepared.workload is not None
    assert all(step.model is not None for step in prepared.workload.steps.values())


def test_an_outline_adds_up_disk_space_and_takes_the_largest_memory() -> None:
    fetch = {"name": "f", "task": "download", "model": "Qwen/Qwen3-0.6B"}
    train = {"name": "b", "task": "train", "model": "${f.model}", "dataset": "o/d"}
    merge = {**MERGE, "name": "c"}
    forecast = outline(resolved(fetch, train, merge, SERVE), made_up("cpu"), {})
    takes = [step.forecast for step in forecast.steps]
    assert all(takes)
    assert forecast.disk_bytes == sum(step.disk_bytes for step in takes if step)
    assert forecast.memory_bytes == max(step.memory_bytes or 0 for step in takes if step)
    fetched, trained, merged, served = (step.disk_bytes if step else 0 for step in takes)
    assert 1.0e9 < fetched < 1.8e9
    assert trained < fetched  # its model was fetched by the step before
    assert merged == pytest.approx(fetched, rel=0.01)
    assert served == 0
    assert forecast.lines()[-1].startswith("in all: disk 2.")
    assert forecast.lines()[-1].endswith("time not known")  # the rows are not on this machine
    timed = StepForecast("b", "train", Forecast(1.0, None, 60.0))
    assert "not known" not in replace(forecast, steps=(*forecast.steps, timed)).lines()[-1]


def test_a_model_that_does_not_exist_yet_has_a_shape() -> None:
    prepared = prepare_loaded(read(STARTER, TRAIN, MERGE, SERVE))
    assert prepared.forecast is not None
    assert all(step.forecast for step in prepared.forecast.steps)
    assert prepared.outline[0].startswith("1/4 a: starter")
    assert "model ${a.model}" in prepared.outline[1]


def step_fingerprints(config: PipelineConfig) -> dict[str, str]:
    records: dict[str, StepRecord] = {}
    for step in config.steps:
        record = StepRecord(step.name, step.config.task, "x", finished=1.0)
        record.fingerprint = fingerprint(step, records)
        records[step.name] = record
    return {name: record.fingerprint for name, record in records.items()}


def test_a_changed_setting_changes_its_step_and_the_steps_that_use_it() -> None:
    before = step_fingerprints(resolved(STARTER, TRAIN, MERGE, SERVE))
    after = step_fingerprints(resolved(STARTER, {**TRAIN, "seed": 9}, MERGE, SERVE))
    assert [before[name] == after[name] for name in "abcd"] == [True, False, False, False]
    same = step_fingerprints(resolved(STARTER, {**TRAIN, "logging_steps": 7}, MERGE, SERVE))
    assert same == before  # it does not change the result


def test_the_split_of_an_update_does_not_change_its_step() -> None:
    batch, passes = "per_device_train_batch_size", "gradient_accumulation_steps"
    before = step_fingerprints(resolved(STARTER, {**TRAIN, batch: 1, passes: 16}, MERGE))
    split = step_fingerprints(resolved(STARTER, {**TRAIN, batch: 8, passes: 2}, MERGE))
    more = step_fingerprints(resolved(STARTER, {**TRAIN, batch: 8, passes: 4}, MERGE))
    assert split == before
    assert more["b"] != before["b"]


def test_another_served_model_changes_the_step_that_asks_the_server() -> None:
    server = {**SERVE, "name": "s", "model": "o/m"}
    ask = {"name": "t", "task": "chat", "endpoint": "${s.url}", "prompt": "hi"}
    before = step_fingerprints(resolved(server, ask))
    after = step_fingerprints(resolved({**server, "model": "o/other"}, ask))
    assert [before[name] == after[name] for name in "st"] == [False, False]
    first = step_fingerprints(resolved({**ask, "endpoint": "http://127.0.0.1:1"}))
    assert first != step_fingerprints(resolved({**ask, "endpoint": "http://127.0.0.1:2"}))


def test_a_mirror_does_not_change_a_download() -> None:
    fetch = {"name": "f", "task": "download", "model": "o/m"}
    mirror = {**fetch, "endpoint": "https://mirror.example"}
    assert step_fingerprints(resolved(fetch)) == step_fingerprints(resolved(mirror))


def test_a_changed_file_changes_the_step_that_reads_it(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    config = resolved({**TRAIN, "model": "o/m", "dataset": f"{data}#5"})
    before = step_fingerprints(config)
    assert step_fingerprints(config) == before
    was = data.stat()
    os.utime(data, (1, 1))
    assert step_fingerprints(config) == before  # same contents
    data.write_text("[]\n", encoding="utf-8")
    os.utime(data, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert step_fingerprints(config) != before
    folder = resolved({**TRAIN, "model": str(tmp_path), "dataset": "o/d"})
    before = step_fingerprints(folder)
    (tmp_path / "more").write_text("x", encoding="utf-8")
    assert step_fingerprints(folder) != before


def test_weights_and_large_data_are_identified_by_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, rows = tmp_path / "model.safetensors", tmp_path / "rows.jsonl"
    for path in (weights, rows):
        path.write_text("x", encoding="utf-8")
    before = identity(tmp_path)
    os.utime(rows, (1, 1))
    (tmp_path / RECORD_FILE).write_text("{}", encoding="utf-8")  # written by a server of the model
    (tmp_path / ".marker").write_text("{}", encoding="utf-8")
    assert identity(tmp_path) == before
    os.utime(weights, (1, 1))
    assert identity(tmp_path) != before
    monkeypatch.setattr(fingerprints, "HASHED_BYTES", 0)
    before = identity(rows)
    os.utime(rows, (2, 2))
    assert identity(rows) != before


def test_a_step_that_ran_again_changes_the_steps_that_use_it() -> None:
    train = resolved(STARTER, TRAIN).steps[1]
    first, second = (
        StepRecord("a", "starter", "x", fingerprint="f", finished=time) for time in (1.0, 2.0)
    )
    assert fingerprint(train, {"a": first}) != fingerprint(train, {"a": second})


def test_a_chain_is_made_of_a_few_choices() -> None:
    chain = chain_blocks({"model": "o/m", "dataset": "d", "seed": 3}, ["deploy", "train", "merge"])
    config: Any = read(*chain).config
    assert [step.name for step in config.steps] == ["train", "merge", "deploy"]
    assert config.steps[0].config.seed == 3
    assert config.steps[2].config.model == "${merge.model}"


def test_a_chain_refers_to_the_steps_that_it_has() -> None:
    blocks = chain_blocks(
        {"model": "m", "dataset": "d", "tuner_type": "full", "quantize.bits": 4},
        ["download", "train", "merge", "quantize", "evaluate", "deploy"],
    )
    named = {block.pop("name"): block for block in blocks}
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
    (_, served) = chain_blocks({"model": "m", "hub": "local", "dataset": "d"}, ["train", "deploy"])
    assert (served["model"], served["adapter"]) == ("m", "${train.adapter}")


def test_a_server_that_died_between_steps_says_why(tmp_path: Path) -> None:
    ask = {"name": "t", "task": "chat", "endpoint": "${d.url}", "prompt": "hi"}
    write_json(tmp_path / "machine.json", made_up("cpu").to_dict())
    config = resolved({**SERVE, "model": "o/m"}, ask)
    run = PipelineRun(config, tmp_path, lambda *_, **__: None)
    folder = tmp_path / "steps" / "01-d"
    folder.mkdir(parents=True)
    server = BackgroundRun(folder, Child([sys.executable, "-c", "raise SystemExit(3)"], {}))
    with pytest.raises(RunError):
        server.wait_for("serving", timeout_s=HANG_S, stop=Event())
    append_event(folder, "failed", message="out of memory", hint="a smaller cache")
    run.servers["d"] = server
    with pytest.raises(RunError, match="01-d: out of memory"):
        run._start_servers_of(config.steps[1])


def test_an_orphaned_step_has_the_time_to_save_that_its_worker_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    messages: list[str] = []

    def wait_for_orphan(
        _: Path, *, timeout_s: float, on_wait: Callable[[], None], **__: Any
    ) -> bool:
        limits.append(timeout_s)
        on_wait()
        return False

    monkeypatch.setattr(child, "wait_for_orphan", wait_for_orphan)
    write_json(tmp_path / "machine.json", made_up("cpu").to_dict())
    config = resolved(STARTER)
    run = PipelineRun(config, tmp_path, lambda _event, **fields: messages.append(fields["message"]))
    assert not run._wait_for_orphan(StepRecord("a", "starter", "steps/01-a"))
    assert limits == [worker.SAVE_TIMEOUT_S]
    assert messages == ["waiting for an orphaned process of a to save and exit"]


def test_answers_of_two_servers_are_not_mixed(tmp_path: Path) -> None:
    def asking(port: int) -> Any:
        url = f"http://127.0.0.1:{port}"
        settings = ["task=evaluate", "benchmarks=sample_ceval", f"endpoint={url}"]
        return loads("", source="t", overrides=settings).config

    (tmp_path / SETTLED).write_text(write(asking(1)), encoding="utf-8")
    run = Run(tmp_path, {})
    require_same_settings(run, asking(1))
    with pytest.raises(RunError, match=r"^endpoint: .*:1, now http://127.0.0.1:2 is requested"):
        require_same_settings(run, asking(2))
