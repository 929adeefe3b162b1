"""Adapters on quantized bases: gradients survive an evaluation, and merging is exact."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from made_up import made_up
from peft import PeftModel
from tiny import write_config

from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.cross_entropy import next_token_losses, with_targets
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.tuners.attach import AdapterStart, attach
from swiftbox.core.weights.load import load_trainable
from swiftbox.errors import ConfigError, MachineError
from swiftbox.plan import plan
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")


def config(model: Path, **keys: Any) -> TrainConfig:
    settings = {"tuner_type": "qlora", "dtype": "float32", "attn_implementation": "sdpa", **keys}
    return TrainConfig(model=str(model), dataset="d", **settings)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(24)[None] + 9
    return {"input_ids": ids, "position_ids": torch.arange(24)[None], "labels": ids.clone()}


def gradients(network: Any) -> dict[str, float]:
    network.zero_grad()
    losses = next_token_losses(network.train(), with_targets(batch()), reader_for(network))
    total, count = losses.sum(), losses.numel()
    (total / count).backward()
    return {
        name: float(parameter.grad.abs().sum())
        for name, parameter in network.named_parameters()
        if "lora_" in name
    }


def step(network: Any) -> None:
    """Move the adapter off its zeros, so that A gets gradients too."""
    gradients(network)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.optim.SGD(trained, lr=0.5).step()


def test_training_keeps_its_gradients_after_an_evaluation_on_a_processor_that_repacks(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    settings = config(tiny)
    network = attach(load_trainable(tiny, settings), settings)
    layers = [module for module in network.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    step(network)
    before = gradients(network)
    with torch.no_grad():
        network.eval()(**{key: tensor for key, tensor in batch().items() if key != "labels"})
    after = gradients(network)
    assert len(after) == 28
    assert all(total > 0 for total in after.values())
    assert after == before


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_a_merge_into_the_dequantized_base_answers_as_the_trained_model(
    quant_type: str, tiny: Path, tmp_path: Path
) -> None:
    settings = config(tiny, bnb_4bit_quant_type=quant_type)
    network = attach(load_trainable(tiny, settings), settings)
    step(network)
    network.save_pretrained(tmp_path)
    inputs = {key: tensor for key, tensor in batch().items() if key != "labels"}
    with torch.no_grad():
        tuned = network.eval()(**inputs).logits
        bare = load_trainable(tiny, settings).dequantize()
        merged = PeftModel.from_pretrained(bare, tmp_path).merge_and_unload()
        actual = merged.eval()(**inputs).logits
    assert (actual - tuned).abs().max() <= 1e-4 * tuned.abs().max()


@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_a_stored_base_computes_in_the_dtype_of_the_run(
    stored: str, tiny: Path, tmp_path: Path
) -> None:
    settings = config(tiny)
    quantized = load_trainable(tiny, settings)
    quantized.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    model_config = json.loads(path.read_text("utf-8"))
    model_config["quantization_config"]["bnb_4bit_compute_dtype"] = stored
    path.write_text(json.dumps(model_config), "utf-8")
    inputs = {key: tensor for key, tensor in batch().items() if key != "labels"}
    with torch.no_grad():
        before = quantized.eval()(**inputs).logits
        after = load_trainable(tmp_path, settings).eval()(**inputs).logits
    assert torch.equal(after, before)


def test_double_quantization_follows_the_setting(tiny: Path) -> None:
    for double in (True, False):
        model = load_trainable(tiny, config(tiny, bnb_4bit_use_double_quant=double))
        weight = model.model.layers[0].mlp.up_proj.weight
        assert weight.quant_state.nested is double


def test_a_score_head_is_not_quantized_and_is_trained(tiny: Path, tmp_path: Path) -> None:
    settings = config(tiny)
    model = load_trainable(tiny, settings, head="score")
    assert type(model.score) is torch.nn.Linear
    network = attach(model, settings, AdapterStart(task_type="SEQ_CLS"))
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    assert any("score.modules_to_save" in name for name in trained)
    assert not any("score" in name and "lora" in name for name in trained)
    score = copy.deepcopy(network.base_model.model.score.modules_to_save["default"].weight)
    network.save_pretrained(tmp_path)
    fresh = load_trainable(tiny, settings, head="score")
    again = PeftModel.from_pretrained(fresh, tmp_path)
    assert torch.equal(again.base_model.model.score.modules_to_save["default"].weight, score)


def test_a_stored_base_that_lists_its_other_layers_gets_a_score_head_too(
    tiny: Path, tmp_path: Path
) -> None:
    settings = config(tiny)
    load_trainable(tiny, settings).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    model_config = json.loads(path.read_text("utf-8"))
    model_config["quantization_config"]["llm_int8_skip_modules"] = ["lm_head"]
    path.write_text(json.dumps(model_config), "utf-8")
    model = load_trainable(tmp_path, settings, head="score")
    assert type(model.score) is torch.nn.Linear
    assert model.score.out_features == 1
    assert sum(isinstance(module, Linear4bit) for module in model.modules()) == 14


def test_an_unquantized_base_is_refused_for_a_method_that_needs_a_quantized_one(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="quant_method: gptq"):
        load_trainable(tiny, config(tiny, quant_method="gptq"))


def test_a_quantized_base_is_not_quantized_again(tiny: Path, tmp_path: Path) -> None:
    from swiftbox.core.weights.quantized_bases import quantization_arguments

    folder = shutil.copytree(tiny, tmp_path / "model")
    stored = json.loads((folder / "config.json").read_text("utf-8"))
    stored["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(stored), "utf-8")
    for method in ("bnb", "gptq"):
        assert quantization_arguments(folder, config(folder, quant_method=method)) == {}


def planned(tmp_path: Path, backend: str, **keys: Any) -> Any:
    path = write_config(tmp_path / "a.yaml", tmp_path, tmp_path / "d.jsonl", **keys)
    return plan(load(path).config, made_up(backend, gptqmodel="7.6.0"))


@pytest.mark.parametrize("key", ["load_in_4bit", "quant_bits"])
def test_lora_on_a_quantized_base_is_qlora_and_says_why(key: str, tmp_path: Path) -> None:
    resolved = planned(tmp_path, "cpu", **{key: True if "load" in key else 4})
    assert (resolved.config.tuner_type, resolved.config.quant_bits) == ("qlora", 4)
    assert any(note.key == "tuner_type" and "quant_bits" in note.why for note in resolved.notes)


def test_a_backend_without_quantized_kernels_is_refused_with_alternatives(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no Ascend kernels") as caught:
        planned(tmp_path, "npu", tuner_type="qlora")
    assert "tuner_type: lora" in caught.value.hint
    assert "quant_method: gptq" in caught.value.hint
    assert planned(tmp_path, "npu", tuner_type="qlora", quant_method="gptq").config.quant_bits == 4


def test_initializations_that_change_a_quantized_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="init_lora_weights: pissa changes the base"):
        planned(tmp_path, "cpu", tuner_type="qlora", init_lora_weights="pissa")
