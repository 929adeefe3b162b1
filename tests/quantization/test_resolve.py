"""Open settings of a quantization are resolved; what cannot work is refused before it starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from safetensors.torch import load_file, save_file

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.config.writing import write
from swiftbox.devices import host
from swiftbox.errors import ConfigError, DataError, MachineError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.models.inspection import inspect
from swiftbox.plan import plan
from swiftbox.quantization.preconditions import require_quantizable
from swiftbox.tasks import TASKS, quantized_results
from swiftbox.tasks.load import loads
from swiftbox.tasks.quantized_results import result_remark


def resolved(machine: str = "cpu", **keys: Any) -> QuantizeConfig:
    """Read and plan a quantization."""
    source = json.dumps({"task": "quantize", "model": "o/n", **keys}, default=str)
    config = plan(loads(source, source="a.yaml").config, made_up(machine)).config
    assert isinstance(config, QuantizeConfig)
    return config


def checked(**keys: Any) -> QuantizeConfig:
    """Read, plan and check a quantization as a launch does."""
    config = with_absolute_paths(resolved(hub="local", **keys))
    check_config(config)
    assert isinstance(config, QuantizeConfig)
    return config


@pytest.mark.parametrize(
    ("method", "bits", "group", "ratio"),
    [
        ("bnb", 4, None, 1.25),
        ("gptq", 4, 128, 1.25),
        ("awq", 4, 128, 1.25),
        ("fp8", 8, None, 1.05),
        ("w8a8", 8, None, 1.05),
        ("gguf", 4, None, 1.25),
    ],
)
def test_open_settings_are_resolved(
    method: str, bits: int, group: int | None, ratio: float
) -> None:
    config = resolved(method=method)
    assert (config.bits, config.group_size, config.max_perplexity_ratio) == (bits, group, ratio)
    assert config.dtype == ("float16" if method == "awq" else "stored")
    assert loads(write(config), source="settled.yaml").config == config


def test_settings_that_are_set_stay() -> None:
    config = resolved(method="gptq", bits=8, group_size=-1, max_perplexity_ratio=1.5)
    assert (config.bits, config.group_size, config.max_perplexity_ratio) == (8, -1, 1.5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"bits": 3}, "a.yaml:1 bits: method: bnb does not support 3 bits; set bits: 4, 8; or"),
        ({"method": "awq", "bits": 8}, "bits: method: awq does not support 8 bits; set bits: 4"),
        (
            {"method": "gguf", "bits": 3},
            "method: gguf does not support 3 bits; set bits: 4, 5",
        ),
        ({"method": "fp8", "group_size": 128}, "group_size: 128 has no effect with method: fp8"),
        ({"method": "gptq", "group_size": 100}, "group_size: should be one of -1, 16, 32"),
        ({"method": "awq", "dtype": "bfloat16"}, "dtype: awq kernels compute in float16"),
        ({"model": None}, "model: is required, unless an adapter"),
        ({"method": "nf4"}, "method: should be one of bnb, gptq, awq, fp8, w8a8, gguf"),
        ({"max_perplexity_ratio": 1.0}, "max_perplexity_ratio: should be greater than 1"),
    ],
)
def test_impossible_settings_are_refused_with_the_line_and_a_fix(
    keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(json.dumps({"task": "quantize", "model": "o/n", **keys}), source="a.yaml")
    assert message in caught.value.message
    assert caught.value.message.startswith("a.yaml")


def test_calibration_settings_of_a_method_without_calibration_are_reported() -> None:
    loaded = loads(
        "task: quantize\nmodel: o/n\nmethod: fp8\ncalibration_samples: 9\n", source="a.yaml"
    )
    assert any("calibration_samples is not used" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("machine", "method", "reason"),
    [
        ("npu", "bnb", "no Ascend kernels"),
        ("p100", "gptq", "compute capability 7.5"),
        ("mps", "fp8", "no FP8 arithmetic"),
    ],
)
def test_a_method_that_the_backend_lacks_is_refused_with_its_reason(
    machine: str, method: str, reason: str
) -> None:
    with pytest.raises(MachineError, match=f"method: {method}: .*{reason}") as caught:
        resolved(machine, method=method)
    assert "set method: " in caught.value.hint


def test_fp8_is_allowed_on_a_card_that_is_one_generation_too_old() -> None:
    assert resolved("a100", method="fp8").bits == 8


@pytest.mark.parametrize(
    ("method", "names"),
    [
        *(("bnb", ()), ("gguf", ("llama_cpp",)), ("gptq", ("gptq",)), ("awq", ("gptq",))),
        ("fp8", ("compress",)),
    ],
)
def test_each_method_names_its_engine(method: str, names: tuple[str, ...]) -> None:
    config = resolved(method=method)
    assert TASKS["quantize"].engines(config, made_up("cpu")) == names


def edited(tiny: Path, folder: Path, **keys: Any) -> Path:
    """Copy a model and change its config.json."""
    shutil.copytree(tiny, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **keys}), "utf-8")
    return folder


def test_a_quantized_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = edited(tiny, tmp_path / "m", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(ConfigError, match=r"is already quantized \(bitsandbytes\)"):
        checked(model=model)


def test_a_multimodal_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is multimodal \(vision_config\)"):
        checked(model=edited(tiny, tmp_path / "m", vision_config={"depth": 1}), method="gptq")


def with_experts(tiny: Path, folder: Path, family: str) -> Path:
    """Copy a model and call it one with experts."""
    model_type = {"Mixtral": "mixtral", "Qwen2Moe": "qwen2_moe", "Qwen3Moe": "qwen3_moe"}[family]
    names = {"model_type": model_type, "architectures": [f"{family}ForCausalLM"]}
    return edited(tiny, folder, num_experts=4, **names)


@pytest.mark.parametrize(
    ("method", "family", "refusal"),
    [
        ("bnb", "Mixtral", ("would stay unquantized", "gguf")),
        ("bnb", "Qwen3Moe", ("would stay unquantized", "gptq or gguf")),
        ("gptq", "Qwen2Moe", ("transformers' class of qwen2_moe has them in one", "gguf")),
        ("awq", "Mixtral", ("transformers' class of mixtral has them in one", "gguf")),
    ],
)
def test_experts_that_a_method_cannot_quantize_are_refused_with_one_that_can(
    method: str, family: str, refusal: tuple[str, str], tiny: Path, tmp_path: Path
) -> None:
    reason, cure = refusal
    folder = with_experts(tiny, tmp_path / "m", family)
    config = resolved(model=folder, method=method, group_size=32 * (method != "bnb") or None)
    with pytest.raises(ConfigError, match=reason) as caught:
        require_quantizable(folder, config)
    assert caught.value.hint == f"set method: {cure}"


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "w8a8"])
def test_experts_in_one_tensor_are_refused_where_a_method_would_split_them(
    method: str, tiny: Path, tmp_path: Path
) -> None:
    folder = with_experts(tiny, tmp_path / "m", "Qwen3Moe")
    tensors = load_file(folder / "model.safetensors")
    experts = {"model.layers.0.mlp.experts.gate_up_proj": torch.zeros(4, 8, 8)}
    save_file(tensors | experts, folder / "model.safetensors")
    with pytest.raises(ConfigError, match="splits the experts") as caught:
        require_quantizable(folder, resolved(model=folder, method=method))
    assert caught.value.hint == "set method: gguf"


@pytest.mark.parametrize(
    ("keys", "server"),
    [
        ({"method": "bnb"}, "by the builtin server"),
        ({"method": "gptq"}, "by the builtin server in the engine gptq; on a GPU"),
        ({"method": "gptq", "bits": 3}, "by the builtin server in the engine gptq"),
        ({"method": "awq"}, "by the builtin server in the engine gptq; on a GPU"),
        ({"method": "fp8"}, "by the builtin server in the engine compress; on a GPU"),
        ({"method": "gguf"}, "by llama.cpp (engine llama_cpp)"),
    ],
)
def test_the_check_says_what_serves_the_result(keys: dict[str, Any], server: str) -> None:
    remark = result_remark(resolved(**keys), None)
    assert remark.level == "note"
    expected = f"the result is served, talked to and evaluated here {server}"
    assert remark.message.partition(" that vLLM")[0] == expected


def test_a_result_that_only_vllm_serves_is_a_warning(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized_results, "uncached_by_builtin", lambda _: ["compressed"])
    remark = result_remark(resolved(method="fp8"), inspect(tiny))
    assert remark.level == "warning"
    assert "the builtin server will not serve the result" in remark.message
    assert "engine: vllm" in remark.hint


def test_models_below_1b_are_quantized_to_8_bits_by_bnb(tiny: Path) -> None:
    settled = plan(
        loads(json.dumps({"task": "quantize", "model": str(tiny)}), source="a.yaml").config,
        made_up("cpu"),
    )
    assert (settled.config.bits, settled.config.max_perplexity_ratio) == (8, 1.05)
    assert any("below 1B, 4 bits without calibration" in note.why for note in settled.notes)
    assert resolved(model=tiny, bits=4).bits == 4
    assert resolved(model=tiny, method="gptq").bits == 4
    assert resolved(model="Qwen/Qwen3-0.6B").bits == 8
    assert resolved(model="Qwen/Qwen3-8B").bits == 4


def test_a_group_size_that_does_not_divide_is_refused_with_one_that_does(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="128 does not divide the 64 inputs") as caught:
        checked(model=tiny, method="gptq")
    assert caught.value.hint == "set group_size: 64"
    assert checked(model=tiny, method="gptq", group_size=64).group_size == 64


def test_awq_of_unsupported_outputs_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="outputs in multiples of 64") as caught:
        checked(model=tiny, method="awq", group_size=32)
    assert caught.value.hint == "set method: gptq, bnb or gguf"


def test_too_little_memory_or_disk_is_refused_with_both_sizes(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory", lambda: (100_000, 100_000))
    with pytest.raises(MachineError, match=r"takes \d+\.\d KiB of memory; this machine has 97\.7"):
        checked(model=tiny)
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 1_000_000)
    with pytest.raises(MachineError, match=r"takes .* has 976\.6 KiB free"):
        checked(model=tiny)


def test_calibration_rows_are_checked_before_anything_starts(tiny: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    with pytest.raises(ConfigError, match="calibration_dataset: no file"):
        checked(model=tiny, calibration_dataset=rows)
    rows.write_text('{"nothing": 1}\n' * 20, "utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no known format"):
        checked(model=tiny, calibration_dataset=rows)
    rows.write_text('{"query": "a", "response": "b"}\n' * 3, "utf-8")
    with pytest.raises(DataError, match="3 rows; at least 10 are required"):
        checked(model=tiny, calibration_dataset=rows)
