"""A quantizer that saves full precision, or something else than was asked for, fails the run."""

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
from swiftbox.quantization import checks, layers
from swiftbox.quantization import run as work
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.quantize import run

NF4 = QuantizeConfig(model="o/n", bits=4, dtype="stored", max_perplexity_ratio=1.25)
GPTQ = {"bits": 4, "group_size": 64, "quant_method": "gptq"}


@pytest.fixture(scope="module")
def packed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in NF4, as bitsandbytes saves it."""
    from swiftbox.core.weights.quantize import pack

    folder = tmp_path_factory.mktemp("packed")
    how = Quantization(4, "nf4", True, "float32")
    pack(tiny, folder, how, device="cpu", trust_remote_code=False)
    return folder


def test_what_bitsandbytes_saves_is_what_is_expected(tiny: Path, packed: Path) -> None:
    found = checks.files(tiny, packed, NF4)
    assert found["layers"] == 14
    assert abs(found["bytes_after"] / found["bytes_expected"] - 1) < 0.01
    assert found["bytes_after"] < 0.75 * found["bytes_before"]


def test_eight_bits_are_told_from_four(tiny: Path, packed: Path, tmp_path: Path) -> None:
    from swiftbox.core.weights.quantize import pack

    eight = NF4.model_copy(update={"bits": 8})
    with pytest.raises(ResultError, match=r"config\.json says load_in_8bit: False"):
        checks.files(tiny, packed, eight)
    how = Quantization(8, "nf4", False, "float32")
    pack(tiny, tmp_path / "m", how, device="cpu", trust_remote_code=False)
    found = checks.files(tiny, tmp_path / "m", eight)
    assert abs(found["bytes_after"] / found["bytes_expected"] - 1) < 0.01


def say(folder: Path, said: dict[str, Any]) -> None:
    """Write a quantization into a model's config.json."""
    path = folder / "config.json"
    found = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**found, "quantization_config": said}), "utf-8")


def test_a_copy_is_no_quantized_model(tiny: Path) -> None:
    with pytest.raises(ResultError, match="saved the model as it was"):
        checks.files(tiny, tiny, NF4)


def test_a_config_alone_is_none_either(tiny: Path, packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "m")
    say(copy, dict(layers.quantization_of(packed)))
    with pytest.raises(ResultError, match="14 of 14 layers were not quantized"):
        checks.files(tiny, copy, NF4)


def test_one_layer_that_was_left_is_found(tiny: Path, packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packed, tmp_path / "m")
    weights, plain = load_file(copy / "model.safetensors"), load_file(tiny / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weights = {key: value for key, value in weights.items() if not key.startswith(name)}
    weights[name] = plain[name]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match=r"1 of 14 layers .*layers\.1\.mlp\.up_proj"):
        checks.files(tiny, copy, NF4)


def test_weights_that_are_there_twice_are_too_large(
    tiny: Path, packed: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(packed, tmp_path / "m")
    plain = load_file(tiny / "model.safetensors").values()
    save_file({f"more.{at}": one for at, one in enumerate(plain)}, copy / "more.safetensors")
    with pytest.raises(ResultError, match="quantized they should take"):
        checks.files(tiny, copy, NF4)


def measured(**said: Any) -> dict[str, Any]:
    return {"perplexity": 10.0, "finite": True, "tokens": 99, "answer": [1], **said}


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"finite": False, "perplexity": None}, "logits that are not finite"),
        ({"answer": []}, "answers nothing"),
        ({"perplexity": 12.6}, r"10 -> 12.6 on 99 held-out tokens: x 1.26, the limit is 1.25"),
    ],
)
def test_a_model_that_suffered_is_not_kept(after: dict[str, Any], words: str) -> None:
    with pytest.raises(ResultError, match=words):
        checks.words(measured(), measured(**after), NF4)


def test_a_model_within_the_bound_is_kept() -> None:
    found = checks.words(measured(), measured(perplexity=12.4), NF4)
    assert found["perplexity_ratio"] == pytest.approx(1.24)


def copies(source: Path, into: Path) -> None:
    shutil.copytree(source, into, dirs_exist_ok=True)


def copies_and_lies(source: Path, into: Path) -> None:
    copies(source, into)
    say(into, GPTQ)


@pytest.mark.parametrize(
    ("quantizer", "words"),
    [(copies, "saved the model as it was"), (copies_and_lies, "14 of 14 layers were not")],
)
def test_a_tool_that_silently_saves_full_precision_fails_the_run(
    quantizer: Callable[[Path, Path], None],
    words: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tool(_engine: str, name: str, request: Any, _folder: Path, _emit: Any) -> Any:
        if name == "gptq":
            quantizer(Path(request["model"]), Path(request["output"]))
        return measured(versions={})

    monkeypatch.setattr(work, "tool", tool)
    write_json(tmp_path / run_folder.MACHINE, made_up("cpu").to_dict())
    config = QuantizeConfig(
        model=str(tiny), hub="local", method="gptq", **{"bits": 4, "group_size": 64},
        dtype="stored", max_perplexity_ratio=1.25, calibration_length=32,
    )  # fmt: skip
    with pytest.raises(ResultError, match=words):
        run(config, tmp_path, lambda *_, **__: None)
    assert not (tmp_path / run_folder.MODEL).exists()
    assert not (tmp_path / "work" / "quantized").exists()
    assert not (tmp_path / work.RECORD).exists()
