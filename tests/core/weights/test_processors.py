"""Quantized models compute the same on every processor, whichever way the product loads them.

bitsandbytes' own test of the processor is replaced: on makes it believe in avx512_bf16, which this
machine need not have; off hides it. SWIFTBOX_TEST_AVX512_BF16=on|off does so for any test run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from adapters import logits, make_adapter, token_ids
from bitsandbytes.nn import Linear4bit
from merge_run import close
from peft import PeftModel
from transformers import AutoModelForCausalLM

import swiftbox
from swiftbox.config.merge import Quantization
from swiftbox.config.train import TrainConfig
from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.core.weights.cast import WeightTypes
from swiftbox.core.weights.load import load_pretrained, load_trainable
from swiftbox.core.weights.merge_bases import BaseFiles, dequantize, load_merge_base
from swiftbox.core.weights.quantize import quantize_and_save
from swiftbox.core.weights.quantized_bases import bitsandbytes_config
from swiftbox.quantization import measure

pytestmark = pytest.mark.filterwarnings("ignore")

BASES = {
    "nf4": Quantization(4, "nf4", True, "float32"),
    "fp4": Quantization(4, "fp4", False, "float32"),
    "int8": Quantization(8, "nf4", False, "float32"),
}


def set_capability(monkeypatch: pytest.MonkeyPatch, capability: bool) -> None:
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: capability)


def load_to_train(folder: Path) -> Any:
    config = TrainConfig(
        model=str(folder),
        dataset="d",
        tuner_type="qlora",
        dtype="float32",
        attn_implementation="sdpa",
    )
    return load_trainable(folder, config)


def load_to_serve(folder: Path) -> Any:
    return Network(LoadSettings(folder, "float32", "cpu")).model


def load_to_measure(folder: Path) -> Any:
    request = {"model": str(folder), "dtype": "float32", "device": "cpu"}
    return measure.load({**request, "trust_remote_code": False}, ExitStack())


def load_dequantized(folder: Path, quantization: Quantization) -> Any:
    files = BaseFiles(folder, WeightTypes("float32", {}))
    model = load_merge_base(files)
    dequantize(model, files, quantization, lambda weight: weight.detach().clone())
    return model


LOADERS: dict[str, Callable[[Path], Any]] = {
    "train": load_to_train,
    "reload": load_pretrained,
    "serve": load_to_serve,
    "measure": load_to_measure,
}


@pytest.fixture(scope="module", params=BASES)
def stored(
    request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Quantization]:
    """The tiny model, the folder of its quantized copy, and the quantization."""
    quantization = BASES[request.param]
    folder = tmp_path_factory.mktemp("quantized") / request.param
    quantize_and_save(tiny, folder, quantization, device="cpu", trust_remote_code=False)
    return tiny, folder, quantization


@pytest.mark.parametrize("loader", LOADERS)
def test_a_quantized_model_computes_the_same_on_both_kinds_of_processor(
    loader: str, stored: tuple[Path, Path, Quantization], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = token_ids(stored[0])
    outputs = []
    for capability in (True, False):
        set_capability(monkeypatch, capability)
        model = LOADERS[loader](stored[1])
        outputs += [logits(model, ids), logits(model, ids)]  # a first pass may repack
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])


@pytest.mark.parametrize("capability", [True, False])
@pytest.mark.parametrize("name", ["nf4", "fp4"])
def test_four_bits_compute_exactly_as_their_dequantized_weights(
    name: str, capability: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_capability(monkeypatch, capability)
    adapter = make_adapter(tiny, tmp_path / "adapter")
    quantized = load_pretrained(
        tiny, dtype=torch.float32, quantization_config=bitsandbytes_config(BASES[name])
    )
    reference = load_dequantized(tiny, BASES[name])
    ids = token_ids(tiny)
    trained = logits(PeftModel.from_pretrained(quantized, adapter), ids)
    merged = PeftModel.from_pretrained(reference, adapter).merge_and_unload()
    assert close(logits(merged, ids), trained)


@pytest.mark.skipif(
    not bitsandbytes.functional.lib.has_avx512bf16_cpu(), reason="needs avx512_bf16"
)
def test_transformers_alone_would_compute_something_else(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_capability(monkeypatch, True)
    plain = AutoModelForCausalLM.from_pretrained(
        tiny, dtype=torch.float32, quantization_config=bitsandbytes_config(BASES["nf4"])
    )
    ids = token_ids(tiny)
    assert not close(logits(plain, ids), logits(load_dequantized(tiny, BASES["nf4"]), ids))


def test_int8_products_are_the_same_integers_by_every_kernel() -> None:
    # Products of 8 bits fit float32 exactly up to 1040 of them; the kernel of AVX-512 uses int32.
    torch.manual_seed(0)
    left = torch.randint(-127, 128, (24, 1024), dtype=torch.int8)
    right = torch.randint(-127, 128, (48, 1024), dtype=torch.int8)
    kernel = torch.ops.bitsandbytes.int8_linear_matmul(left, right)
    assert torch.equal(kernel.long(), left.long() @ right.long().T)


def test_the_flag_that_is_cleared_exists(tiny: Path) -> None:
    model = load_pretrained(
        tiny, dtype=torch.float32, quantization_config=bitsandbytes_config(BASES["nf4"])
    )
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 14
    assert hasattr(Linear4bit(2, 2), "support_avx512bf16_for_cpu")  # renamed, it would do nothing
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def model_loads(source: str) -> Iterator[int]:
    """Yield the lines that call `from_pretrained` of a model class, named or in a variable."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
            owner = getattr(node.func.value, "id", "")  # type: ignore[attr-defined]
            if not owner.endswith(("Tokenizer", "Config", "PeftModel", "Processor")):
                yield node.lineno


def test_only_one_function_of_the_product_loads_models() -> None:
    package = Path(swiftbox.__file__).parent
    places = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if list(model_loads(path.read_text("utf-8")))
    }
    # The scripts of engines run without swiftbox, where bitsandbytes is not installed.
    assert {place for place in places if not place.startswith("engines/tools/")} == {
        "core/weights/load.py",
        "core/weights/trial_load.py",  # reads headers, and computes nothing
    }
