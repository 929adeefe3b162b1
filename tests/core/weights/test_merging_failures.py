"""A merge that is wrong fails its run and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter
from merge_run import MergeRun
from safetensors.torch import load_file, save_file

from swiftbox.core.weights import merge
from swiftbox.errors import ConfigError, ResultError, RunError

pytestmark = pytest.mark.filterwarnings("ignore")


def nothing_left(out: Path) -> bool:
    return not (out / "model").exists() and not (out / ".model").exists()


def test_a_merge_that_is_wrong_fails_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import Linear

    right = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, name: 1.01 * right(self, name))
    adapter = make_adapter(tiny, tmp_path / "a")
    with pytest.raises(ResultError, match="merged model differs from base and adapter: logits"):
        MergeRun(tmp_path / "out", adapter=adapter)
    assert nothing_left(tmp_path / "out")


def test_a_write_that_is_wrong_fails_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = merge._write

    def wrong(job: Any, model: Any, tokenizer: Any, target: Path) -> None:
        write(job, model, tokenizer, target)
        weights = load_file(target / "model.safetensors")
        weights["model.layers.1.mlp.up_proj.weight"] *= 1.001
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(merge, "_write", wrong)
    adapter = make_adapter(tiny, tmp_path / "a")
    with pytest.raises(ResultError, match="the written model differs from the merged one"):
        MergeRun(tmp_path / "out", adapter=adapter)
    assert nothing_left(tmp_path / "out")


def test_an_adapter_with_nan_fails_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match="cannot be merged"):
        MergeRun(tmp_path / "out", adapter=adapter)
    assert nothing_left(tmp_path / "out")


def test_weights_out_of_the_range_of_the_type_fail_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", modules_to_save=["lm_head"])
    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.lm_head.weight"][3, 3] = 70_000.0
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match=r"lm_head\.weight exceeds the range") as caught:
        MergeRun(tmp_path / "out", adapter=adapter, dtype="float16")
    assert "bfloat16" in caught.value.hint
    assert nothing_left(tmp_path / "out")


def test_a_tensor_without_a_module_fails_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"] = torch.ones(4, 128)
    weights["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"] = torch.ones(64, 4)
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="2 of the weights of"):
        MergeRun(tmp_path / "out", adapter=adapter)


def test_a_missing_tensor_fails_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    del weights["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"layers\.0\.self_attn\.q_proj has no lora_B"):
        MergeRun(tmp_path / "out", adapter=adapter)
