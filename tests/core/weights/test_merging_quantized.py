"""An adapter of a quantized base is merged into the weights that it was trained on."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from adapters import logits, make_adapter, make_run, qlora, token_ids
from bitsandbytes import functional
from bitsandbytes.functional import dequantize_4bit
from merge_run import MergeRun, adapter_logits, close
from peft import PeftModel
from transformers import AutoTokenizer

from swiftbox.config.merge import Quantization
from swiftbox.core.weights import merge_bases
from swiftbox.core.weights.cast import WeightTypes
from swiftbox.core.weights.compare import check_prompts
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.quantized_bases import bitsandbytes_config

pytestmark = pytest.mark.filterwarnings("ignore")


def load_quantized(folder: Path, *, bits: int = 4, double: bool = True, dtype: str) -> Any:
    """Load a base as a training quantizes it."""
    quantization = Quantization(bits, "nf4", double, dtype)
    return load_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        quantization_config=bitsandbytes_config(quantization),
    )


@pytest.mark.parametrize("double", [True, False])
def test_dequantized_is_the_base_that_an_nf4_adapter_was_trained_on(
    double: bool, tiny: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "run" / "model")
    trained = make_run(adapter, tiny, **qlora(bnb_4bit_use_double_quant=double))
    merged = MergeRun(tmp_path / "out", adapter=trained, merge_base="dequantized")
    ids = token_ids(tiny)
    trained_base = load_quantized(tiny, double=double, dtype="float32")
    expected = logits(PeftModel.from_pretrained(trained_base, adapter), ids)
    assert close(logits(merged.model(), ids), expected)


def test_weights_are_dequantized_one_at_a_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dequantized: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def counting(*arguments: Any) -> torch.Tensor:
        nonlocal most
        weight: torch.Tensor = dequantize_4bit(*arguments)
        most = max(most, sum(reference() is not None for reference in dequantized))
        dequantized.append(weakref.ref(weight))
        return weight

    monkeypatch.setattr(functional, "dequantize_4bit", counting)
    files = merge_bases.BaseFiles(tiny, WeightTypes("float32", {}))
    model = merge_bases.load_merge_base(files)
    merge_bases.dequantize(model, files, Quantization(4, "nf4", True, "float32"), torch.clone)
    assert len(dequantized) > 6
    assert most <= 2  # the one that is kept, and the one before it


def test_a_processor_that_repacks_four_bits_changes_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: False)
    trained = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora())
    plain = MergeRun(tmp_path / "plain", adapter=trained, merge_base="dequantized")
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    packing = MergeRun(tmp_path / "packing", adapter=trained, merge_base="dequantized")
    ids = token_ids(tiny)
    assert torch.equal(logits(plain.model(), ids), logits(packing.model(), ids))


def test_a_bfloat16_training_is_merged_with_its_rounded_weights(tiny: Path, tmp_path: Path) -> None:
    trained = make_run(
        make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora(dtype="bfloat16")
    )
    merged = MergeRun(tmp_path / "out", adapter=trained, merge_base="dequantized").model()
    model = load_quantized(tiny, dtype="bfloat16")
    layer = model.model.layers[0].mlp.down_proj  # no adapter there
    unit_vectors = torch.eye(layer.in_features, dtype=torch.bfloat16)
    with torch.no_grad():
        columns = layer(unit_vectors).float().T  # (O, I): the weights as a forward pass has them
    assert torch.equal(merged.model.layers[0].mlp.down_proj.weight, columns)
    assert torch.equal(merged.model.embed_tokens.weight, model.model.embed_tokens.weight.float())


def test_the_two_bases_of_an_nf4_adapter_are_compared(tiny: Path, tmp_path: Path) -> None:
    trained = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora())
    full = MergeRun(tmp_path / "full", adapter=trained)
    dequantized = MergeRun(tmp_path / "dequantized", adapter=trained, merge_base="dequantized")
    ids = token_ids(tiny)
    assert close(logits(full.model(), ids), adapter_logits(tiny, trained / "model", ids))
    prompts = check_prompts(AutoTokenizer.from_pretrained(tiny))
    models = (full.model(), dequantized.model())
    pairs = [[logits(model, prompt[None]) for model in models] for prompt in prompts]
    differences = torch.cat([(first - second).abs().flatten() for first, second in pairs])
    for merged in (full, dequantized):
        figures = merged.figures["bases"]
        assert figures["maximum"] == pytest.approx(float(differences.max()), rel=1e-3)
        assert figures["mean"] == pytest.approx(float(differences.mean()), rel=1e-3)
        assert f"{figures['maximum']:.2g} at most" in merged.note("merge_base")
    assert full.figures["bases"]["merged"] == "full"
    assert dequantized.figures["bases"]["merged"] == "dequantized"
    assert differences.max() > 1e-2  # the two are not the same model


def test_an_int8_base_is_dequantized_too(tiny: Path, tmp_path: Path) -> None:
    trained = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora(quant_bits=8))
    merged = MergeRun(tmp_path / "out", adapter=trained, merge_base="dequantized")
    assert merged.figures["bases"]["maximum"] > 0
    model = load_quantized(tiny, bits=8, dtype="float32")
    layer = model.model.layers[0].mlp.down_proj  # no adapter there
    rounded = layer.weight.data.float() * layer.weight.SCB.float()[:, None] / 127
    written = merged.model().model.layers[0].mlp.down_proj.weight
    assert torch.allclose(written, rounded, atol=1e-6)
