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
from made_up import made_up
from peft import PeftModel
from tiny import write_config

from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.cross_entropy import next_token_losses
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.tuners.attach import AdapterStart, attach
from swiftbox.core.weights.load import load_model
from swiftbox.errors import ConfigError, MachineError
from swiftbox.plan import plan
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")


def config(model: Path, **keys: Any) -> TrainConfig:
    given = {"tuner_type": "qlora", "dtype": "float32", "attn_implementation": "sdpa", **keys}
    return TrainConfig(model=str(model), dataset="d", **given)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(24)[None] + 9
    return {"input_ids": ids, "position_ids": torch.arange(24)[None], "labels": ids.clone()}


def gradients(network: Any) -> dict[str, float]:
    network.zero_grad()
    losses = next_token_losses(network.train(), batch(), reader_for(network))
    total, count = losses.sum(), losses.numel()
    (total / count).backward()
    return {
        name: float(one.grad.abs().sum())
        for name, one in network.named_parameters()
        if "lora_" in name
    }


def step(network: Any) -> None:
    """Move the adapter off its zeros, so that A gets gradients too."""
    gradients(network)
    trained = [one for one in network.parameters() if one.requires_grad]
    torch.optim.SGD(trained, lr=0.5).step()


def test_gradients_are_there_after_an_evaluation_on_a_processor_that_packs(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    settings = config(tiny)
    network = attach(load_model(tiny, settings), settings)
    layers = [one for one in network.modules() if isinstance(one, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 14
    assert not any(one.support_avx512bf16_for_cpu for one in layers)
    step(network)
    before = gradients(network)
    with torch.no_grad():
        network.eval()(**{key: one for key, one in batch().items() if key != "labels"})
    after = gradients(network)
    assert len(after) == 28
    assert all(one > 0 for one in after.values())
    assert after == before


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_the_merged_model_says_what_the_adapter_says_on_the_dequantized_base(
    quant_type: str, tiny: Path, tmp_path: Path
) -> None:
    settings = config(tiny, bnb_4bit_quant_type=quant_type)
    network = attach(load_model(tiny, settings), settings)
    step(network)
    network.save_pretrained(tmp_path)
    inputs = {key: one for key, one in batch().items() if key != "labels"}
    with torch.no_grad():
        tuned = network.eval()(**inputs).logits
        bare = load_model(tiny, settings).dequantize()
        merged = PeftModel.from_pretrained(bare, tmp_path).merge_and_unload()
        found = merged.eval()(**inputs).logits
    assert (found - tuned).abs().max() <= 1e-4 * tuned.abs().max()


def test_double_quantization_is_as_asked(tiny: Path) -> None:
    for asked in (True, False):
        model = load_model(tiny, config(tiny, bnb_4bit_use_double_quant=asked))
        weight = model.model.layers[0].mlp.up_proj.weight
        assert weight.quant_state.nested is asked


def test_a_score_head_is_not_quantized_and_is_trained(tiny: Path, tmp_path: Path) -> None:
    settings = config(tiny)
    model = load_model(tiny, settings, head="score")
    assert type(model.score) is torch.nn.Linear
    network = attach(model, settings, AdapterStart(task_type="SEQ_CLS"))
    trained = [name for name, one in network.named_parameters() if one.requires_grad]
    assert any("score.modules_to_save" in name for name in trained)
    assert not any("score" in name and "lora" in name for name in trained)
    score = copy.deepcopy(network.base_model.model.score.modules_to_save["default"].weight)
    network.save_pretrained(tmp_path)
    fresh = load_model(tiny, settings, head="score")
    again = PeftModel.from_pretrained(fresh, tmp_path)
    assert torch.equal(again.base_model.model.score.modules_to_save["default"].weight, score)


def test_a_base_that_is_not_quantized_as_said_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="quant_method: gptq"):
        load_model(tiny, config(tiny, quant_method="gptq"))


def test_a_base_that_comes_quantized_is_used_as_it_is(tiny: Path, tmp_path: Path) -> None:
    from swiftbox.core.weights.quantized_bases import quantization

    folder = shutil.copytree(tiny, tmp_path / "model")
    said = json.loads((folder / "config.json").read_text("utf-8"))
    said["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(said), "utf-8")
    for method in ("bnb", "gptq"):
        assert quantization(folder, config(folder, quant_method=method)) == {}


def planned(tmp_path: Path, backend: str, **keys: Any) -> Any:
    path = write_config(tmp_path / "a.yaml", tmp_path, tmp_path / "d.jsonl", **keys)
    return plan(load(path).config, made_up(backend, gptqmodel="7.6.0"))


@pytest.mark.parametrize("key", ["load_in_4bit", "quant_bits"])
def test_lora_on_so_many_bits_is_qlora_and_says_why(key: str, tmp_path: Path) -> None:
    found = planned(tmp_path, "cpu", **{key: True if "load" in key else 4})
    assert (found.config.tuner_type, found.config.quant_bits) == ("qlora", 4)
    assert any(one.key == "tuner_type" and "quant_bits" in one.why for one in found.notes)


def test_a_backend_without_quantized_kernels_refuses_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no Ascend kernels") as caught:
        planned(tmp_path, "npu", tuner_type="qlora")
    assert "tuner_type: lora" in caught.value.hint
    assert "quant_method: gptq" in caught.value.hint
    assert planned(tmp_path, "npu", tuner_type="qlora", quant_method="gptq").config.quant_bits == 4


def test_first_values_that_change_a_quantized_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="init_lora_weights: pissa changes the base"):
        planned(tmp_path, "cpu", tuner_type="qlora", init_lora_weights="pissa")
