"""A tool that saves full precision, or another quantization than was asked for, fails the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import made_up
from safetensors.torch import load_file, save_file

from swiftbox.config.merge import Quantization
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.files import write_json
from swiftbox.quantization import run as quantization_run
from swiftbox.quantization import tensors, verification
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.quantize import run

NF4 = QuantizeConfig(model="o/n", bits=4, dtype="stored", max_perplexity_ratio=1.25)
GPTQ = {"bits": 4, "group_size": 64, "quant_method": "gptq"}


@pytest.fixture(scope="module")
def packed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in NF4, as bitsandbytes saves it."""
    from swiftbox.core.weights.quantize import quantize_and_save

    folder = tmp_path_factory.mktemp("packed")
    quantization = Quantization(4, "nf4", True, "float32")
    quantize_and_save(tiny, folder, quantization, device="cpu", trust_remote_code=False)
    return folder


def test_what_bitsandbytes_saves_has_the_expected_size(tiny: Path, packed: Path) -> None:
    figures = verification.check_files(tiny, packed, NF4)
    assert figures["layers"] == 14
    assert abs(figures["bytes_after"] / figures["bytes_expected"] - 1) < 0.01
    assert figures["bytes_after"] < 0.75 * figures["bytes_before"]


def test_eight_bits_are_distinguished_from_four(tiny: Path, packed: Path, tmp_path: Path) -> None:
    from swiftbox.core.weights.quantize import quantize_and_save

    eight = NF4.model_copy(update={"bits": 8})
    with pytest.raises(
        ResultError, match=r"quantization_config\.load_in_8bit is False, expected True"
    ):
        verification.check_files(tiny, packed, eight)
    quantization = Quantization(8, "nf4", False, "float32")
    quantize_and_save(tiny, tmp_path / "m", quantization, device="cpu", trust_remote_code=False)
    figures = verification.check_files(tiny, tmp_path / "m", eight)
    assert abs(figures["bytes_after"] / figures["bytes_expected"] - 1) < 0.01


def write_quantization(folder: Path, quantization: dict[str, Any]) -> None:
    """Write a quantization_config into a model's config.json."""
    path = folder / "config.json"
    stored = json.loads(path.read_text("utf-8"))
    stored["quantization_config"] = quantization
    path.write_text(json.dumps(stored), "utf-8")


@pytest.mark.filterwarnings("ignore")
def test_a_tower_stays_as_it_is(tiny_multimodal: Path, tmp_path: Path) -> None:
    from swiftbox.core.weights.load import load_pretrained
    from swiftbox.core.weights.quantize import quantize_and_save

    quantization = Quantization(4, "nf4", True, "float32")
    folder = tmp_path / "m"
    quantize_and_save(tiny_multimodal, folder, quantization, device="cpu", trust_remote_code=False)
    assert verification.check_files(tiny_multimodal, folder, NF4)["layers"] == 15
    before = load_file(tiny_multimodal / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    tower = [name for name in before if ".visual." in name]
    assert len(tower) == 21
    assert all(before[name].equal(after[name]) for name in tower)
    assert type(load_pretrained(folder)).__name__ == "Qwen3_5ForConditionalGeneration"


def header(*shape: int, dtype: str = "F32") -> tensors.TensorHeader:
    return tensors.TensorHeader(shape, dtype)


def test_a_lost_and_an_added_tensor_are_found_by_name() -> None:
    layer = "model.layers.0.mlp.up_proj"
    gptq = NF4.model_copy(update={"method": "gptq"})
    before = {
        "model.embed_tokens.weight": header(9, 4),
        f"{layer}.weight": header(8, 4),
        f"{layer}.bias": header(8),
        "model.norm.weight": header(4),
        "lm_head.weight": header(9, 4),
        "mtp.fc.weight": header(4, 4),
    }
    packed = {"qweight": "I32", "qzeros": "I32", "scales": "F16", "g_idx": "I32"}
    after = {
        **{name: before[name] for name in before if "up_proj.weight" not in name},
        **{f"{layer}.{part}": header(1, 8, dtype=dtype) for part, dtype in packed.items()},
    }
    del after["mtp.fc.weight"]
    assert tensors.lost_tensors(before, after, gptq, tied=False) == []
    assert tensors.added_tensors(before, after) == []
    del after["lm_head.weight"], after["model.norm.weight"]
    assert tensors.lost_tensors(before, after, gptq, tied=True) == ["model.norm.weight"]
    after["visible.weight"] = header(1)
    assert tensors.added_tensors(before, after) == ["visible.weight"]


def test_an_unchanged_copy_fails(tiny: Path) -> None:
    with pytest.raises(ResultError, match="saved the model unchanged"):
        verification.check_files(tiny, tiny, NF4)


def test_a_changed_config_alone_fails(tiny: Path, packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "m")
    write_quantization(copy, dict(tensors.stored_quantization(packed)))
    with pytest.raises(ResultError, match="14 of 14 layers are not quantized"):
        verification.check_files(tiny, copy, NF4)


def test_a_single_unquantized_layer_is_found(tiny: Path, packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packed, tmp_path / "m")
    weights, plain = load_file(copy / "model.safetensors"), load_file(tiny / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weights = {key: value for key, value in weights.items() if not key.startswith(name)}
    weights[name] = plain[name]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match=r"1 of 14 layers .*layers\.1\.mlp\.up_proj"):
        verification.check_files(tiny, copy, NF4)


def test_weights_that_are_stored_twice_are_too_large(
    tiny: Path, packed: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(packed, tmp_path / "m")
    plain = load_file(tiny / "model.safetensors").values()
    save_file(
        {f"more.{index}": weight for index, weight in enumerate(plain)}, copy / "more.safetensors"
    )
    with pytest.raises(ResultError, match="expected are"):
        verification.check_files(tiny, copy, NF4)


def measured(**changes: Any) -> dict[str, Any]:
    return {"perplexity": 10.0, "finite": True, "tokens": 99, "answer": [1], **changes}


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"finite": False, "perplexity": None}, "NaN or infinite logits"),
        ({"answer": []}, "generates nothing"),
        ({"perplexity": 12.6}, r"10 -> 12.6 on 99 held-out tokens: x 1.26, the limit is 1.25"),
    ],
)
def test_a_damaged_model_is_rejected(after: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        verification.check_measurements(measured(), measured(**after), NF4)


def test_a_model_within_the_limit_is_accepted() -> None:
    figures = verification.check_measurements(measured(), measured(perplexity=12.4), NF4)
    assert figures["perplexity_ratio"] == pytest.approx(1.24)


def copy_unchanged(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def copy_with_false_config(source: Path, target: Path) -> None:
    copy_unchanged(source, target)
    write_quantization(target, GPTQ)


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (copy_unchanged, "saved the model unchanged"),
        (copy_with_false_config, "14 of 14 layers are not"),
    ],
)
def test_a_tool_that_silently_saves_full_precision_fails_the_run(
    quantizer: Callable[[Path, Path], None],
    message: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_tool(_tool: Any, request: Any, _emit: Any) -> Any:
        quantizer(Path(request["model"]), Path(request["output"]))
        return {}

    monkeypatch.setattr(quantization_run, "run_tool", run_tool)
    monkeypatch.setattr(quantization_run, "measure", lambda *_: measured(versions={}))
    write_json(tmp_path / run_folder.MACHINE, made_up("cpu").to_dict())
    config = QuantizeConfig(
        model=str(tiny), hub="local", method="gptq", **{"bits": 4, "group_size": 64},
        dtype="stored", max_perplexity_ratio=1.25, calibration_length=32,
    )  # fmt: skip
    with pytest.raises(ResultError, match=message):
        run(config, tmp_path, lambda *_, **__: None)
    assert not (tmp_path / run_folder.MODEL).exists()
    assert not (tmp_path / "work" / "quantized").exists()
    assert not (tmp_path / quantization_run.REPORT).exists()
