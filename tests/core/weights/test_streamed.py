"""A model that is computed part by part gives the outputs of the entire one, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter, token_ids
from live_tensors import LiveTensors
from tiny import SIZES, build
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from swiftbox.core.weights.adapters import adapter_shapes, attach_adapter
from swiftbox.core.weights.cast import WeightTypes
from swiftbox.core.weights.compare import run_prompts
from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
from swiftbox.core.weights.streamed import ComputePlace, parts_of, streamed

pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")
LAYERS = 6


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of many layers, stored in bfloat16, with its tokenizer."""
    folder = build("qwen3", tmp_path_factory.mktemp("halved"))
    torch.manual_seed(0)
    config = Qwen3Config(**{**SIZES, "num_hidden_layers": LAYERS}, head_dim=16)
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def stored(folder: Path) -> Any:
    return load_merge_base(BaseFiles(folder, WeightTypes("bfloat16", {})))


def types_of(model: Any) -> set[torch.dtype]:
    return {weight.dtype for weight in model.parameters()}


@pytest.mark.parametrize("kept_bytes", [0, 300_000, 10**9])
def test_a_streamed_model_gives_the_logits_and_answers_of_the_entire_one(
    kept_bytes: int, halved: Path
) -> None:
    prompts = [token_ids(halved)[0]]
    expected = run_prompts(
        AutoModelForCausalLM.from_pretrained(halved, dtype=torch.float32), prompts
    )
    model = stored(halved)
    with streamed(model, ComputePlace(CPU, kept_bytes=kept_bytes)):
        actual = run_prompts(model, prompts)
    assert torch.equal(actual.logits[0], expected.logits[0])
    assert (actual.answers, actual.margins) == (expected.answers, expected.margins)
    assert types_of(model) == {torch.bfloat16}


@pytest.mark.parametrize("keys", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_on_a_streamed_base_is_that_on_a_float32_base(
    keys: dict[str, Any], halved: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    adapter = make_adapter(halved, tmp_path / "a", **keys)
    prompts = [token_ids(halved)[0]]
    entire = AutoModelForCausalLM.from_pretrained(halved, dtype=torch.float32)
    expected = run_prompts(PeftModel.from_pretrained(entire, adapter), prompts)
    network = attach_adapter(stored(halved), adapter, adapter_shapes(adapter))
    with streamed(network, ComputePlace(CPU)):
        actual = run_prompts(network, prompts)
    assert torch.equal(actual.logits[0], expected.logits[0])


def test_only_one_part_has_copies_at_a_time(halved: Path) -> None:
    model, ids = stored(halved), token_ids(halved)
    parts, _ = parts_of(model)
    part = 4 * max(sum(weight.numel() for weight in part.parameters()) for part in parts)
    entrance = 4 * model.get_input_embeddings().weight.numel()
    activations = 8 * 4 * ids.numel() * SIZES["vocab_size"]
    with LiveTensors() as tensors, torch.no_grad(), streamed(model, ComputePlace(CPU)):
        model(input_ids=ids, use_cache=False)
    everything = 4 * sum(weight.numel() for weight in model.parameters())
    assert tensors.peak <= entrance + part + activations < everything / 2


def test_a_failed_pass_puts_the_stored_weights_back(halved: Path) -> None:
    model = stored(halved)
    with pytest.raises(IndexError), streamed(model, ComputePlace(CPU, kept_bytes=10**9)):
        model(input_ids=torch.tensor([[SIZES["vocab_size"]]]))
    assert types_of(model) == {torch.bfloat16}
