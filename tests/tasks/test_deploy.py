"""A deployment before it starts: its settled values, its refusals, and its vLLM command."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter, make_run
from made_up import made_up
from model_folder import write_model

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.writing import write
from swiftbox.engines.vllm import MIDDLEWARE
from swiftbox.errors import ConfigError, MachineError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.models import inspection as inspecting
from swiftbox.models.requirements import Remark
from swiftbox.plan import plan
from swiftbox.serving.vllm import VllmTarget, command, environment
from swiftbox.tasks import TASKS
from swiftbox.tasks.deploy import engines, named_adapters
from swiftbox.tasks.load import loads


def planned(machine: str = "cpu", versions: dict[str, str] | None = None, **keys: Any) -> Any:
    content = json.dumps({"task": "deploy", "hub": "local", "port": 0, **keys}, default=str)
    return plan(loads(content, source="a.yaml").config, made_up(machine, **(versions or {})))


def remarks_of(config: DeployConfig) -> list[str]:
    """Return what the check of a settled deployment remarks."""
    remarks: list[Remark] = []
    check_config(config, remarks.append)
    return list(map(str, remarks))


def deploying(**keys: Any) -> DeployConfig:
    """Load, plan and check a deployment as a launch does."""
    config = with_absolute_paths(planned(**keys).config)
    check_config(config)
    assert isinstance(config, DeployConfig)
    return config


@pytest.fixture(scope="session")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny, tmp_path_factory.mktemp("my-run") / "model")


@pytest.mark.parametrize("machine", ["cuda", "rocm", "npu"])
def test_vllm_is_chosen_if_supported_and_installed(machine: str) -> None:
    assert planned(machine, {"vllm": "0.33.0"}, model="o/n").config.engine == "vllm"
    settled_plan = planned(machine, model="o/n")
    assert settled_plan.config.engine == "builtin"
    assert "vllm is not installed" in settled_plan.notes[0].why


@pytest.mark.parametrize(("machine", "why"), [("cpu", "CPU build"), ("mps", "vllm-metal")])
def test_otherwise_the_builtin_server_is_chosen_with_the_reason(machine: str, why: str) -> None:
    settled_plan = planned(machine, {"vllm": "0.33.0"}, model="o/n")
    assert settled_plan.config.engine == "builtin"
    assert why in settled_plan.notes[0].why


def test_a_gpu_too_old_for_vllm_gets_the_builtin_server() -> None:
    settled_plan = planned("v100", {"vllm": "0.33.0"}, model="o/n")
    assert (settled_plan.config.engine, "7.5 or newer" in settled_plan.notes[0].why) == (
        "builtin",
        True,
    )


@pytest.mark.parametrize("machine", ["cuda", "npu"])
def test_a_requested_vllm_that_is_missing_is_an_engine_to_install(machine: str) -> None:
    settled_plan = planned(machine, model="o/n", engine="vllm")
    assert engines(settled_plan.config, made_up(machine)) == ("vllm",)
    assert engines(settled_plan.config, made_up(machine, vllm="0.33.0")) == ()
    assert engines(planned(machine, model="o/n").config, made_up(machine)) == ()


def test_vllm_that_pip_cannot_install_is_refused() -> None:
    with pytest.raises(MachineError, match=r"engine: vllm: .*from vLLM's ROCm wheels"):
        planned("rocm", model="o/n", engine="vllm")


def test_vllm_is_found_in_its_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swiftbox.devices.host import engine_version

    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path))
    assert engine_version("vllm") == ""
    marker = tmp_path / "engines" / "vllm" / "swiftbox-engine.json"
    marker.parent.mkdir(parents=True)
    marker.write_text(json.dumps({"versions": {"vllm": "0.33.0"}}))
    assert engine_version("vllm") == "0.33.0"
    marker.write_text(json.dumps({"versions": {"vllm": "0.33.0"}, "broken": "no kernel"}))
    assert engine_version("vllm") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_public_address_requires_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="is reachable from other machines") as caught:
        planned(model="o/n", host=host)
    assert "api_key_env" in caught.value.hint
    assert planned(model="o/n", host=host, api_key_env="KEY").config.host == host


def test_a_key_that_is_not_set_is_refused_and_never_written(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY is not set"):
        deploying(model=tiny, api_key_env="SECRET_KEY")
    monkeypatch.setenv("SECRET_KEY", "sk-very-secret")
    assert "sk-very" not in write(deploying(model=tiny, api_key_env="SECRET_KEY"))
    with pytest.raises(ConfigError, match="name of a variable, not the key"):
        planned(model=tiny, api_key_env="sk-very-secret")


def test_a_port_in_use_is_refused(tiny: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            deploying(model=tiny, port=port)


def test_a_missing_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="model: no folder /none"):
        deploying(model="/none")
    with pytest.raises(ConfigError, match="model: is required"):
        deploying()


def test_quantized_weights_without_a_loader_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "m", quantization_config={"quant_method": "aqlm"})
    with pytest.raises(ConfigError, match="builtin server needs aqlm") as caught:
        deploying(model=folder)
    assert caught.value.hint == "pip install aqlm"
    monkeypatch.setattr(inspecting, "version_of", lambda _: "1.0")
    deploying(model=folder)


@pytest.mark.parametrize(
    ("method", "engine"),
    [("gptq", "gptq"), ("awq", "gptq"), ("compressed-tensors", "compress")],
)
def test_quantized_weights_are_loaded_by_the_engine_that_writes_such_files(
    method: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"quant_method": method, "bits": 4}
    folder = write_model(tmp_path / "m", quantization_config=settings)
    config = deploying(model=folder)
    assert engines(config, made_up("cpu")) == (engine,)
    remarks = remarks_of(config)
    assert f"note: the engine {engine} loads the weights: the builtin server runs in it" in remarks
    assert not any("pip install" in remark for remark in remarks)
    monkeypatch.setattr(inspecting, "version_of", lambda _: "1.0")  # also in our environment
    assert engines(config, made_up("cpu")) == ()
    assert not any("the engine" in remark for remark in remarks_of(config))


def test_the_base_and_the_name_come_from_the_adapter(tiny: Path, adapter: Path) -> None:
    config = deploying(adapter=adapter)
    assert (config.model, config.served_model_name) == (str(tiny), tiny.name)
    assert loads(write(config), source="settled.yaml").config == config
    run = make_run(adapter, tiny)
    assert named_adapters(deploying(adapter=run)) == {run.name: str(adapter)}


def test_adapters_have_unique_names(tiny: Path, adapter: Path) -> None:
    config = deploying(model=tiny, adapters={"a": adapter, "b.1": adapter})
    assert named_adapters(config) == {"a": str(adapter), "b.1": str(adapter)}
    assert loads(write(config), source="settled.yaml").config == config
    with pytest.raises(ConfigError, match="is also the name of an adapter"):
        deploying(model=tiny, adapters={"x": adapter}, served_model_name="x")


def test_a_full_model_is_not_an_adapter(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no adapter_config\.json"):
        deploying(model=tiny, adapters={"a": tiny})


def test_the_builtin_server_uses_one_device() -> None:
    with pytest.raises(MachineError, match="the builtin server uses one device"):
        planned("cuda", model="o/n", tensor_parallel_size=2)
    with pytest.raises(MachineError, match="but there are 8 devices"):
        planned("cuda", {"vllm": "0.33.0"}, model="o/n", tensor_parallel_size=16)


def test_a_deployment_is_named_after_what_it_serves() -> None:
    assert TASKS["deploy"].run_name(DeployConfig(model="Qwen/Qwen3-0.6B")) == "deploy-qwen3-0.6b"


GOLDEN = {
    "cuda": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    "rocm": {},
    "npu": {"VLLM_PLUGINS": "ascend"},
}


@pytest.mark.parametrize("backend", sorted(GOLDEN))
def test_the_command_of_vllm(backend: str) -> None:
    config = planned(
        backend,
        {"vllm": "0.33.0"},
        model="org/Base-7B",
        host="0.0.0.0",
        api_key_env="KEY",
        max_model_len=8192,
        max_concurrency=64,
        gpu_memory_utilization=0.85,
        tensor_parallel_size=4,
        trust_remote_code=True,
    ).config
    target = VllmTarget(
        program=("/e/bin/vllm", "serve"),
        model=Path("/m/base"),
        name="-base",
        adapters={"a=1": Path("/l/a"), "b": Path("/l/b")},
        ranks=(8, 48),
        port=8001,
    )
    assert command(config, target) == [
        *("/e/bin/vllm", "serve", "/m/base", "--host", "0.0.0.0", "--port", "8001"),
        *("--served-model-name=-base", "--dtype", "bfloat16"),
        *("--gpu-memory-utilization", "0.85", "--max-num-seqs", "64"),
        *("--max-model-len", "8192", "--tensor-parallel-size", "4"),
        *("--allowed-origins", "[]", "--middleware", "swiftbox_gate.Gate", "--trust-remote-code"),
        *("--enable-lora", "--max-loras", "2", "--max-lora-rank", "64", "--lora-modules"),
        '{"name": "a=1", "path": "/l/a"}',
        '{"name": "b", "path": "/l/b"}',
    ]


@pytest.mark.parametrize("backend", sorted(GOLDEN))
def test_the_environment_of_vllm(backend: str) -> None:
    config = planned(
        backend, {"vllm": "0.33.0"}, model="o/n", host="0.0.0.0", api_key_env="KEY"
    ).config
    serving = config.model_copy(update={"adapter_loading": True})
    inherited = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_API_KEY": "other", "PYTHONPATH": "/p"}
    assert environment(inherited, backend, serving, key="sk-1") == {
        **GOLDEN[backend],
        "PYTHONPATH": f"{MIDDLEWARE}:/p",
        "SWIFTBOX_ONLY_LOCAL": "0",
        "SWIFTBOX_ALLOWED_ORIGINS": "[]",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_API_KEY": "sk-1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    }


def test_vllm_without_key_and_adapters_gets_neither() -> None:
    config = planned("cuda", {"vllm": "0.33.0"}, model="o/n").config
    target = VllmTarget(("vllm",), Path("/m"), "m", {}, (), 8000)
    assert not any("lora" in argument or "key" in argument for argument in command(config, target))
    variables = environment({}, "cuda", config, key=None)
    assert variables["SWIFTBOX_ONLY_LOCAL"] == "1"
    assert "VLLM_API_KEY" not in variables
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in variables


def test_vllm_has_room_for_adapters_that_are_loaded_later() -> None:
    config = planned("cuda", {"vllm": "0.33.0"}, model="o/n", adapter_loading=True).config
    arguments = command(config, VllmTarget(("vllm",), Path("/m"), "m", {}, (), 8000))
    assert arguments[-5:] == ["--enable-lora", "--max-loras", "1", "--max-lora-rank", "64"]
    variables = environment({}, "cuda", config, key=None)
    assert variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


QUANTIZED: dict[str, tuple[dict[str, Any], str]] = {
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, ""),
    "gptq of 8 bits": ({"quant_method": "gptq", "bits": 8, "group_size": 32}, ""),
    "gptq of 3 bits": ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "4 or 8 bits"),
    "gptq in groups of 16": ({"quant_method": "gptq", "bits": 4, "group_size": 16}, "group_size"),
    "asymmetric gptq": (
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False},
        "symmetric gptq only",
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128}, ""),
    "awq of 8 bits": ({"quant_method": "awq", "bits": 8, "group_size": 128}, "4 bits"),
    "compressed": ({"quant_method": "compressed-tensors", "format": "float-quantized"}, ""),
    "bnb": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "weights of .bitsandbytes"),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_check_tells_which_quantized_weights_vllm_loads(name: str, tmp_path: Path) -> None:
    quantization, fault = QUANTIZED[name]
    folder = write_model(tmp_path / "m", quantization_config=quantization)
    vllm = {"vllm": "0.33.0"}
    assert planned("cuda", vllm, model=folder).config.engine == ("builtin" if fault else "vllm")
    if fault:
        with pytest.raises(ConfigError, match=fault):
            planned("cuda", vllm, model=folder, engine="vllm")
    # What other versions load is not known here.
    assert planned("npu", {"vllm": "0.23.0"}, model=folder).config.engine == "vllm"


@pytest.mark.parametrize(
    ("method", "auto", "refused"),
    [
        ("gptq", "bfloat16", "bfloat16 or float16"),
        ("awq", "bfloat16", "bfloat16 or float16"),
        ("mxfp4", "bfloat16", "in bfloat16$"),
        ("compressed-tensors", "float32", ""),
        ("", "float32", ""),
    ],
)
def test_quantized_weights_are_computed_in_a_type_that_vllm_has_for_them(
    method: str, auto: str, refused: str, tmp_path: Path
) -> None:
    settings = {"quant_method": method, "bits": 4, "group_size": 128}
    folder = write_model(tmp_path / "m", **({"quantization_config": settings} if method else {}))
    keys = {"model": folder, "engine": "vllm"}
    vllm = {"vllm": "0.33.0+cpu"}
    assert planned("cpu", vllm, **keys).config.dtype == auto
    assert planned("cpu", vllm, **keys, dtype="bfloat16").config.dtype == "bfloat16"
    if refused:
        with pytest.raises(ConfigError, match=f"dtype: float32: vLLM computes.*{refused}"):
            planned("cpu", vllm, **keys, dtype="float32")
    # The other servers of such a folder compute in any type.
    assert planned("cpu", model=folder, engine="builtin").config.dtype == "float32"
