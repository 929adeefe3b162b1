"""`check` and a run refuse quantized models whose tensors are not all there, or misshapen."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asked_here import quiet_loading
from safetensors.torch import load_file, save_file

from swiftbox.architectures.stored_settings import settings_of
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.trial_load import report_on
from swiftbox.errors import ConfigError
from swiftbox.models.inspection import inspect
from swiftbox.models.trial_loading import NO_FAULTS, placement_remarks
from swiftbox.models.weights import read_weights

Shapes = dict[str, tuple[str, tuple[int, ...]]]

LAYERS = "model.layers."

GROUP = 32


def gptq(outputs: int, inputs: int) -> Shapes:
    """As gptqmodel's PackedGroupedQuantLinear, of 4 bits."""
    groups = inputs // GROUP
    return {
        "qweight": ("I32", (inputs // 8, outputs)),
        "qzeros": ("I32", (groups, outputs // 8)),
        "scales": ("F16", (groups, outputs)),
        "g_idx": ("I32", (inputs,)),
    }


def awq(outputs: int, inputs: int) -> Shapes:
    """As gptqmodel's AWQuantLinear, in the form of gemm."""
    groups = inputs // GROUP
    return {
        "qweight": ("I32", (inputs, outputs // 8)),
        "qzeros": ("I32", (groups, outputs // 8)),
        "scales": ("F16", (groups, outputs)),
    }


def blocked(outputs: int, inputs: int) -> Shapes:
    """As transformers' FP8Linear with blocks of 16 x 32."""
    scales = (math.ceil(outputs / 16), math.ceil(inputs / 32))
    return {"weight": ("F8_E4M3", (outputs, inputs)), "weight_scale_inv": ("F32", scales)}


def channels(dtype: str) -> Callable[[int, int], Shapes]:
    """As compressed-tensors' naive quantization, one scale for each output."""
    return lambda outputs, inputs: {
        "weight": (dtype, (outputs, inputs)),
        "weight_scale": ("BF16", (outputs, 1)),
    }


def packed(outputs: int, inputs: int) -> Shapes:
    """As compressed-tensors' packed quantization of 4 bits, asymmetric."""
    return {
        "weight_packed": ("I32", (outputs, inputs // 8)),
        "weight_scale": ("BF16", (outputs, inputs // GROUP)),
        "weight_zero_point": ("I32", (outputs // 8, inputs // GROUP)),
        "weight_shape": ("I64", (2,)),
    }


def nvfp4(outputs: int, inputs: int) -> Shapes:
    """As compressed-tensors' NVFP4."""
    return {
        "weight_packed": ("U8", (outputs, inputs // 2)),
        "weight_scale": ("F8_E4M3", (outputs, inputs // 16)),
        "weight_global_scale": ("F32", (1,)),
        "input_global_scale": ("F32", (1,)),
    }


def _of_groups(name: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    settings = {"quant_method": "compressed-tensors", "format": name, "config_groups": groups}
    return {**settings, "ignore": ["lm_head"], "quantization_status": "compressed"}


GROUPED = {"bits": 4, "group_size": GROUP}

FORMS: Mapping[str, tuple[Callable[[int, int], Shapes], dict[str, Any]]] = {
    "gptq": (gptq, {"quant_method": "gptq", **GROUPED, "desc_act": False}),
    "gptq with modules of other bits": (
        gptq,
        {"quant_method": "gptq", **GROUPED, "bits": 8, "dynamic": {"+:layers": {"bits": 4}}},
    ),
    "awq": (awq, {"quant_method": "awq", **GROUPED, "version": "gemm", "zero_point": True}),
    "fp8": (blocked, {"quant_method": "fp8", "weight_block_size": [16, 32]}),
    "FP8_DYNAMIC": (
        channels("F8_E4M3"),
        _of_groups("float-quantized", num_bits=8, type="float", strategy="channel"),
    ),
    "W8A8": (
        channels("I8"),
        _of_groups("int-quantized", num_bits=8, type="int", strategy="channel"),
    ),
    "W4A16": (
        packed,
        _of_groups("pack-quantized", num_bits=4, type="int", strategy="group", group_size=GROUP),
    ),
    "NVFP4": (
        nvfp4,
        _of_groups(
            "nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16
        ),
    ),
}
"""The tensors of a matrix of each form, and the quantization_config."""

OPTIONAL = ("input_global_scale",)


def quantized(source: Path, form: str) -> Shapes:
    """Return the tensors of a model whose layers are quantized."""
    write, _settings = FORMS[form]
    tensors: Shapes = {}
    for name, (_dtype, shape) in read_weights(source).tensors.items():
        module = name.removesuffix(".weight")
        if name.startswith(LAYERS) and len(shape) == 2:
            parts = write(*shape)
            tensors |= {f"{module}.{part}": tensor for part, tensor in parts.items()}
        else:
            tensors[name] = ("BF16", shape)
    return tensors


BYTES = {"F8_E4M3": 1, "I8": 1, "U8": 1, "BF16": 2, "F16": 2, "I32": 4, "F32": 4, "I64": 8}


def write_model(source: Path, target: Path, form: str, tensors: Shapes) -> Path:
    """Write config.json and tensors, zeros that take no room."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    config = json.loads((source / "config.json").read_text("utf-8"))
    content = {**config, "quantization_config": FORMS[form][1]}
    (target / "config.json").write_text(json.dumps(content), "utf-8")
    header, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = at + math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with (target / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return target


def names_in(report: Mapping[str, list[str]]) -> set[str]:
    return {name for kind, names in report.items() if kind not in NO_FAULTS for name in names}


def modules_in(report: Mapping[str, list[str]]) -> set[str]:
    return {name.rpartition(".")[0] for name in names_in(report)}


@pytest.mark.parametrize("form", FORMS)
def test_check_names_each_part_of_a_matrix_that_is_not_there(
    form: str, tiny: Path, tmp_path: Path
) -> None:
    tensors = quantized(tiny, form)
    assert names_in(report_on(write_model(tiny, tmp_path / "m", form, tensors))) == set()
    module = f"{LAYERS}0.mlp.up_proj"
    for part in set(FORMS[form][0](GROUP, GROUP)) - set(OPTIONAL):
        name = f"{module}.{part}"
        left = {key: tensor for key, tensor in tensors.items() if key != name}
        report = report_on(write_model(tiny, tmp_path / "m", form, left))
        assert modules_in(report) == {module}
        assert report["missing"]


@pytest.mark.parametrize("form", FORMS)
def test_check_refuses_parts_of_another_shape_and_names_that_no_class_has(
    form: str, tiny: Path, tmp_path: Path
) -> None:
    tensors = quantized(tiny, form)
    module = f"{LAYERS}0.mlp.up_proj"
    main = next(name for name in tensors if name.startswith(module))
    dtype, shape = tensors[main]
    edits: dict[str, Shapes] = {
        "matrix": {**tensors, main: (dtype, (shape[0] + 8, shape[1]))},
        "module": {**tensors, f"{LAYERS}9.mlp.up_proj.{main.rpartition('.')[2]}": (dtype, shape)},
        "part": {**tensors, f"{module}.weight2": ("BF16", (2, 2))},
    }
    for what, edited in edits.items():
        report = report_on(write_model(tiny, tmp_path / "m", form, edited))
        assert names_in(report), what
    for part, (dtype, shape) in FORMS[form][0](128, 64).items():
        if "scales" in part or part.endswith("weight_scale"):
            wrong = {**tensors, f"{module}.{part}": (dtype, (shape[0] + 1, shape[1]))}
            report = report_on(write_model(tiny, tmp_path / "m", form, wrong))
            assert modules_in(report) == {module}
            assert report["reshaped"]


def test_biases_of_zeros_and_scales_of_caches_refuse_nothing(tiny: Path, tmp_path: Path) -> None:
    for form, extra in (("gptq", "mlp.up_proj.bias"), ("FP8_DYNAMIC", "self_attn.k_scale")):
        tensors = {**quantized(tiny, form), f"{LAYERS}0.{extra}": ("F16", (128,))}
        assert names_in(report_on(write_model(tiny, tmp_path / "m", form, tensors))) == set()


def without(source: Path, target: Path, name: str) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    tensors = load_file(source / "model.safetensors")
    del tensors[name]
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


def is_refused_by_run(folder: Path) -> bool:
    try:
        with quiet_loading():
            load_pretrained(folder)
    except ConfigError:
        return True
    return False


BITSANDBYTES: dict[str, dict[str, Any]] = {
    "4 bits": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "4 bits twice": {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
    "8 bits": {"load_in_8bit": True},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", BITSANDBYTES)
def test_what_bitsandbytes_writes_fits_and_each_part_is_needed(
    settings: str, tiny: Path, tmp_path: Path
) -> None:
    from transformers import BitsAndBytesConfig

    source = tmp_path / "source"
    with quiet_loading():
        quantization = BitsAndBytesConfig(**BITSANDBYTES[settings])
        model = load_pretrained(tiny, quantization_config=quantization)
        model.save_pretrained(source)
    assert names_in(report_on(source)) == set()
    assert not is_refused_by_run(source)
    module = f"{LAYERS}0.mlp.up_proj."
    parts = [name for name in read_weights(source).tensors if name.startswith(module)]
    for name in parts:
        if name.endswith("weight_format"):
            continue
        folder = without(source, tmp_path / "m", name)
        assert names_in(report_on(folder)), name
        assert is_refused_by_run(folder), name


@pytest.mark.filterwarnings("ignore")
def test_a_run_refuses_weights_of_8_bits_without_their_scales(tiny: Path, tmp_path: Path) -> None:
    source = write_model(tiny, tmp_path / "source", "fp8", quantized(tiny, "fp8"))
    assert not is_refused_by_run(source)
    name = f"{LAYERS}0.mlp.up_proj.weight_scale_inv"
    for part in (name, name.removesuffix("_scale_inv")):
        assert is_refused_by_run(without(source, tmp_path / "m", part))


def test_a_form_that_is_not_known_is_a_note(tiny: Path, tmp_path: Path) -> None:
    folder = write_model(tiny, tmp_path / "m", "awq", quantized(tiny, "awq"))
    inspection = inspect(folder)
    assert not list(placement_remarks(inspection))
    other = {**FORMS["awq"][1], "version": "gemv"}
    unknown = replace(inspection, config={**inspection.config, "quantization_config": other})
    (folder / "config.json").write_text(json.dumps(unknown.config), "utf-8")
    remarks = list(placement_remarks(unknown))
    assert [remark.level for remark in remarks] == ["note"]
    assert "compares them with Qwen3ForCausalLM by module only" in str(remarks[0])


@pytest.mark.parametrize(
    "quantization",
    [
        {},
        {"quant_method": "aqlm"},
        {"quant_method": "gptq", "checkpoint_format": "marlin"},
        {"quant_method": "gptq", "is_marlin_format": True},
        {"quant_method": "awq", "backend": "llm-awq"},
        {"quant_method": "compressed-tensors", "format": "marlin-24"},
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "sparsity_config": {"format": "sparse-24-bitmask"},
        },
    ],
)
def test_forms_of_other_libraries_are_not_judged(quantization: dict[str, Any]) -> None:
    assert settings_of(quantization) is None
