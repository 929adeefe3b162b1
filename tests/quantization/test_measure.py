"""A model that is larger than the device is measured layer by layer, with the same figures."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import token_ids
from made_up import made_up
from safetensors.torch import load_file, save_file
from tiny import build
from transformers import AutoModelForCausalLM

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.engines.tools.measure import answer, perplexity
from swiftbox.errors import MachineError
from swiftbox.quantization import preconditions
from swiftbox.quantization.measure import load
from swiftbox.quantization.run import _stored_types, kept_bytes
from swiftbox.quantization.tensors import TensorHeader

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("qwen3", tmp_path_factory.mktemp("halved"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_measured_layer_by_layer_has_the_figures_of_the_entire_one(
    dtype: str, halved: Path
) -> None:
    request: dict[str, Any] = {
        "model": str(halved),
        "dtype": dtype,
        "device": "cpu",
        "trust_remote_code": False,
        "stored_dtype": "bfloat16",
        "stored_dtypes": {},
        "kept_bytes": 0,
    }
    texts = [token_ids(halved)[0].tolist()] * 2
    entire = AutoModelForCausalLM.from_pretrained(halved, dtype=getattr(torch, dtype)).eval()
    expected = perplexity(entire, texts), answer(entire, texts[0], 6)
    with ExitStack() as stack:
        model = load(request, stack)
        assert (perplexity(model, texts), answer(model, texts[0], 6)) == expected


def test_a_model_with_masks_among_its_weights_is_measured(halved: Path, tmp_path: Path) -> None:
    """Older models store masks of booleans; only floating-point weights have a number type."""
    folder = tmp_path / "masked"
    shutil.copytree(halved, folder)
    tensors = load_file(folder / "model.safetensors")
    left_out = "model.layers.0.self_attn.position_ids"  # as one of those that no class reads
    tensors[left_out] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    types = _stored_types(folder)
    assert types["stored_dtype"] == "bfloat16"
    assert set(types["stored_dtypes"].values()) == {"bfloat16"}
    request = {"model": str(folder), "dtype": "float32", "device": "cpu", "kept_bytes": 0}
    texts = [token_ids(halved)[0].tolist()]
    entire = AutoModelForCausalLM.from_pretrained(halved, dtype=torch.float32).eval()
    with ExitStack() as stack:
        model = load({**request, "trust_remote_code": False, **types}, stack)
        assert perplexity(model, texts) == perplexity(entire, texts)


def large_headers(layers: int = 80, hidden: int = 8192) -> dict[str, TensorHeader]:
    """Return the headers of a decoder of 72 billion parameters in bfloat16."""
    headers = {
        name: TensorHeader((152_064, hidden), "BF16")
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    for number in range(layers):
        prefix = f"model.layers.{number}"
        for name, shape in (
            ("mlp.gate_proj", (29_568, hidden)),
            ("mlp.up_proj", (29_568, hidden)),
            ("mlp.down_proj", (hidden, 29_568)),
            ("self_attn.q_proj", (hidden, hidden)),
            ("self_attn.o_proj", (hidden, hidden)),
        ):
            headers[f"{prefix}.{name}.weight"] = TensorHeader(shape, "BF16")
    return headers


def test_four_bits_of_72_billion_parameters_are_made_on_a_card_of_80_gigabytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preconditions.tensors, "read_headers", lambda _: large_headers())
    config = QuantizeConfig(model="m", method="bnb", bits=4)
    stored = sum(header.size_bytes for header in large_headers().values())
    assert stored > 130 * 2**30
    preconditions.require_device_room(Path("m"), config, made_up("h100"))
    with pytest.raises(MachineError, match="on one device; the largest has 24"):
        preconditions.require_device_room(Path("m"), config, made_up("rtx4090"))


def test_weights_stay_on_the_device_up_to_a_share_of_its_memory() -> None:
    assert kept_bytes(made_up("h100"), 0) == pytest.approx(0.6 * 80 * 2**30)
    assert kept_bytes(made_up("cpu"), 10 * 2**30) == pytest.approx(6 * 2**30)
