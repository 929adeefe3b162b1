"""GPTQ, AWQ, FP8 and W8A8 by their real engines, and LoRA on models of gptqmodel; run by hand.

`SWIFTBOX_ENGINES=~/.swiftbox pytest -m network tests/quantization` uses the engines of that home;
without it they are installed into the test's own.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest
from box import box, losses
from stored_weights import held_out_pieces, perplexity, read_stored
from tiny import write_chats, write_config

from swiftbox.files import read_json

pytestmark = pytest.mark.network

GROUPED = {"gptq": ["group_size=64"], "awq": ["group_size=64"], "fp8": [], "w8a8": []}


def quantized(model: Path, method: str, place: Path, *settings: str) -> Path:
    """Quantize with the method's real tool; return the run folder."""
    path = place / "a.yaml"
    path.write_text(f"task: quantize\nmodel: {model}\nhub: local\nmethod: {method}\n", "utf-8")
    few = ["calibration_length=64"] + ["calibration_samples=8"] * (method != "fp8")
    keys = (*few, *GROUPED[method], *settings, "output_dir=out")
    box("run", str(path), *keys, "--yes", cwd=place)
    return place / "out"


@pytest.mark.parametrize("method", sorted(GROUPED))
def test_a_model_is_quantized_by_its_engine(method: str, model: Path, tmp_path: Path) -> None:
    report = read_json(quantized(model, method, tmp_path) / "quantize.json")
    assert report["layers"] == 14
    assert report["bytes_after"] < report["bytes_before"]
    assert report["perplexity_ratio"] < report["max_perplexity_ratio"]


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(GROUPED))
def test_a_real_model_loses_what_its_stored_tensors_lose(
    method: str, smollm2: Path, tmp_path: Path
) -> None:
    # So few tokens calibrate poorly; whether the figures are true does not depend on it.
    out = quantized(smollm2, method, tmp_path, "calibration_length=128", "max_perplexity_ratio=3")
    pieces, report = held_out_pieces(out, smollm2), read_json(out / "quantize.json")
    before, after = (read_stored(folder) for folder in (smollm2, out / "model"))
    assert perplexity(smollm2, before, pieces) == pytest.approx(
        report["perplexity_before"], rel=1e-3
    )
    # gptqmodel's kernels compute in 16 bits.
    assert perplexity(smollm2, after, pieces) == pytest.approx(report["perplexity_after"], rel=5e-3)


@pytest.mark.skipif(not importlib.util.find_spec("gptqmodel"), reason="needs swiftbox[gptq]")
@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_lora_trains_on_a_model_quantized_by_its_engine(
    method: str, model: Path, tmp_path: Path
) -> None:
    quantized_model = quantized(model, method, tmp_path) / "model"
    before = hashlib.sha256((quantized_model / "model.safetensors").read_bytes()).hexdigest()
    chats = write_chats(tmp_path / "chat.jsonl", 20)
    keys = {"tuner_type": "qlora", "quant_method": method, "learning_rate": 1e-2, "max_steps": 6}
    config = write_config(tmp_path / "b.yaml", quantized_model, chats, **keys, output_dir="tuned")
    box("run", str(config), cwd=tmp_path)
    loss_by_step = losses(tmp_path / "tuned")
    assert loss_by_step[6] < loss_by_step[1]
    assert (
        hashlib.sha256((quantized_model / "model.safetensors").read_bytes()).hexdigest() == before
    )
