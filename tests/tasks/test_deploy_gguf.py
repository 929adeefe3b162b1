"""A deployment of a GGUF file: its engine, its refusals, its limits, and llama.cpp's command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gguf_writing import TINY, write_gguf
from made_up import made_up

from swiftbox.config.deploy import DeployConfig
from swiftbox.errors import ConfigError, MachineError, ResultError
from swiftbox.fit.forecast import RunInputs
from swiftbox.fit.profile import profile_model
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.serving import llama_cpp
from swiftbox.serving.llama_cpp import (
    LlamaTarget,
    ServerLimits,
    sampling_options,
    server_limits,
    token_bytes,
)
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads

SMOL = {
    "general.architecture": "llama",
    "llama.context_length": 8192,
    "llama.block_count": 30,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.embedding_length": 576,
}
"""The metadata of SmolLM2-135M."""


def planned(task: str = "deploy", **keys: Any) -> Any:
    keys |= {"port": 0} if task == "deploy" else {}
    content = json.dumps({"task": task, "hub": "local", **keys}, default=str)
    return plan(loads(content, source="a.yaml").config, made_up("cpu"))


def deploying(**keys: Any) -> DeployConfig:
    """Load, plan and check a deployment as a launch does."""
    config = with_absolute_paths(planned(**keys).config)
    check_config(config)
    assert isinstance(config, DeployConfig)
    return config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "small" / "model.gguf", TINY).parent


@pytest.mark.parametrize("engine", ["auto", "llama_cpp"])
def test_llama_cpp_serves_a_gguf_file(engine: str, folder: Path) -> None:
    config = deploying(model=folder, engine=engine)
    assert config.engine == "llama_cpp"
    assert TASKS["deploy"].engines(config, made_up("cpu")) == ("llama_cpp",)


def test_another_engine_is_refused_for_a_gguf_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match="engine: builtin cannot serve") as caught:
        planned(model=folder, engine="builtin")
    assert caught.value.hint == "set engine: llama_cpp, or auto"


def test_a_model_without_a_gguf_file_is_refused_by_llama_cpp(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="has no GGUF file") as caught:
        deploying(model=tiny, engine="llama_cpp")
    assert "method: gguf" in caught.value.hint
    assert "engine: auto" in caught.value.hint


def test_a_file_that_is_cut_off_is_refused_before_it_is_served(folder: Path) -> None:
    file = folder / "model.gguf"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ResultError, match=r"model\.gguf is not a complete GGUF file"):
        deploying(model=folder)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"adapter": "o/a"}, "without adapters"),
        ({"adapter_loading": True}, "loads no adapters"),
        ({"tensor_parallel_size": 2}, "divides a model by layers"),
        ({"dtype": "float32"}, "computed in the types that it has"),
    ],
)
def test_settings_that_llama_cpp_does_not_have_are_refused(
    keys: dict[str, Any], problem: str, folder: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        planned(model=folder, **keys)


@pytest.mark.parametrize("task", ["deploy", "evaluate"])
def test_the_memory_of_serving_a_file_is_forecast(task: str, folder: Path) -> None:
    benchmarks = {"benchmarks": "sample_ceval"} if task == "evaluate" else {}
    config = planned(task=task, model=folder, **benchmarks).config
    assert (config.engine, config.dtype) == ("llama_cpp", "auto")
    inputs = RunInputs(profile_model("Qwen/Qwen3-0.6B"))
    forecast = TASKS[task].forecast(config, made_up("cpu"), inputs)
    assert forecast is not None
    assert (forecast.memory_bytes or 0) > 1e9


def test_a_name_that_would_be_several_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="several"):
        deploying(model=folder, served_model_name="two,names")


def test_the_cache_of_a_token_is_computed_from_the_metadata() -> None:
    assert token_bytes(SMOL) == 30 * 3 * (64 + 64) * 2


@pytest.mark.parametrize("value", ["many", -5, 1e300, float("nan"), True, None])
def test_metadata_with_other_values_than_counts_sets_no_limits(value: object) -> None:
    metadata = dict.fromkeys(SMOL, value) | {"general.architecture": "llama"}
    limits = server_limits(metadata, DeployConfig(model="m"), 1e12)
    assert limits.length > 0
    assert limits.slots == 16


@pytest.mark.parametrize(
    ("memory", "keys", "limits"),
    [
        (1e12, {}, (8192, 16)),
        (1e12, {"max_model_len": 1000}, (1000, 16)),
        (1e12, {"max_model_len": 100}, (100, 16)),
        (23040 * 16_384, {}, (4096, 4)),
        (23040 * 4_000, {"max_model_len": 1000}, (1000, 4)),
    ],
)
def test_lengths_and_answers_at_the_same_time_fit_in_the_memory(
    memory: float, keys: dict[str, Any], limits: tuple[int, int]
) -> None:
    config = DeployConfig(model="m", **keys)
    assert server_limits(SMOL, config, memory) == ServerLimits(*limits)


def test_a_length_beyond_the_model_is_refused_before_it_is_served(folder: Path) -> None:
    with pytest.raises(MachineError, match="the model supports 2048 tokens"):
        deploying(model=folder, max_model_len=2049)
    with pytest.raises(MachineError, match="the model supports 8192 tokens"):
        server_limits(SMOL, DeployConfig(model="m", max_model_len=8193), 1e12)


def test_a_length_is_served_as_it_is_set_if_the_file_does_not_tell_the_longest() -> None:
    metadata = {key: SMOL[key] for key in SMOL if key != "llama.context_length"}
    config = DeployConfig(model="m", max_model_len=10_000)
    assert server_limits(metadata, config, 1e12) == ServerLimits(10_000, 16)


def test_too_little_memory_for_one_answer_is_refused() -> None:
    with pytest.raises(MachineError, match="too little"):
        server_limits(SMOL, DeployConfig(model="m", max_model_len=4096), 23040 * 4000)


def test_the_server_listens_on_a_socket_and_not_on_the_address() -> None:
    limits, variables = ServerLimits(512, 4), {"enable_thinking": False}
    target = LlamaTarget(
        Path("/e/llama-server"), Path("/m/model.gguf"), "small", Path("/s.sock"), limits, 2,
        variables, ("--temp", "0"),
    )  # fmt: skip
    assert llama_cpp.command(target) == [
        *("/e/llama-server", "--model", "/m/model.gguf", "--alias", "small"),
        *("--host", "/s.sock", "--offline"),
        *("--ctx-size", "2048", "--no-kv-unified", "--parallel", "4", "--cache-ram", "0"),
        *("--threads", "2", "--jinja", "--no-slots", "--no-ui"),
        *("--temp", "0", "--repeat-last-n", "512"),
        *("--chat-template-kwargs", '{"enable_thinking": false}'),
    ]


def test_the_environment_has_no_options_of_the_user() -> None:
    inherited = {"PATH": "/bin", "LLAMA_ARG_TOOLS": "all", "AIP_MODE": "PREDICTION"}
    assert llama_cpp.environment({**inherited, "LLAMA_API_KEY": "other"}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("generation", "temperature"),
    [
        ({}, "0"),
        ({"do_sample": True}, "1"),
        ({"do_sample": True, "temperature": 0.7}, "0.7"),
        ({"temperature": "hot"}, "0"),
        ({"temperature": float("nan")}, "0"),
    ],
)
def test_a_request_without_a_temperature_is_answered_as_by_the_builtin_server(
    generation: dict[str, Any], temperature: str
) -> None:
    options = sampling_options(generation, {})
    assert options[:2] == ["--temp", temperature]
    assert options[2:] == ["--top-k", "0", "--top-p", "1", "--min-p", "0", "--repeat-penalty", "1"]


def test_sampling_that_the_file_alone_describes_is_left_to_llama_cpp() -> None:
    metadata = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20}
    options = sampling_options({"top_k": 50}, metadata)
    assert "--temp" not in options
    assert options[:2] == ["--top-k", "50"]
