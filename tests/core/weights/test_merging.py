"""A merged model answers as its base with its adapter does, by peft itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, make_adapter, token_ids
from merge_run import MergeRun, adapter_logits, close
from peft import IA3Config, OFTConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import SIZES
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.weights.compare import QUESTIONS, check_prompts

pytestmark = pytest.mark.filterwarnings("ignore")


LORAS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "bias": {"bias": "lora_only", "lora_bias": False},
    "high-rank": {"r": 32, "lora_alpha": 64, "target_modules": "all-linear"},
}


@pytest.mark.parametrize("kind", LORAS)
def test_a_merged_model_answers_as_base_and_adapter(kind: str, tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", **LORAS[kind])
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    ids = token_ids(tiny)
    expected = adapter_logits(tiny, adapter, ids)
    assert close(logits(merged.model(), ids), expected)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert (logits(plain, ids) - expected).abs().max() > 0.05  # the adapter does change something
    (step,) = merged.figures["steps"]
    assert step["maximum"] <= step["limit"]
    assert (step["same_answers"], step["answers"]) == (len(QUESTIONS), len(QUESTIONS))


@pytest.mark.parametrize("experts", [False, True])
def test_a_mixture_of_experts_is_merged(experts: bool, tiny: Path, tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    moe = shutil.copytree(tiny, tmp_path / "base")
    sizes = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **sizes, head_dim=16)).save_pretrained(moe)
    fused = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    adapter = make_adapter(
        moe, tmp_path / "a", target_modules=["q_proj"], **(fused if experts else {})
    )
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    ids = token_ids(moe)
    assert close(logits(merged.model(), ids), adapter_logits(moe, adapter, ids))
    assert "model.layers.0.mlp.experts.0.up_proj.weight" in merged.dtypes()  # as the base has them


EXPERTS = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}

FUSED: dict[str, dict[str, Any]] = {
    "bias, transposed, bfloat16": {"class": "GptOss", "dtype": torch.bfloat16},
    "rslora": {"class": "Mixtral", "use_rslora": True},
    "experts alone, of two ranks": {
        "class": "Qwen3Moe",
        "target_modules": [],
        "rank_pattern": {"experts.down_proj": 2},
    },
}


@pytest.mark.parametrize("kind", FUSED)
def test_a_lora_on_fused_experts_is_merged(kind: str, tiny: Path, tmp_path: Path) -> None:
    import transformers

    settings = {"target_modules": ["q_proj"], **EXPERTS, **FUSED[kind]}
    name, dtype = settings.pop("class"), settings.pop("dtype", torch.float32)
    moe = shutil.copytree(tiny, tmp_path / "base")
    sizes = {**SIZES, "num_experts_per_tok": 2, "intermediate_size": 32, "head_dim": 16}
    sizes |= {"num_experts": 4} if name == "Qwen3Moe" else {"num_local_experts": 4}
    sizes |= {"moe_intermediate_size": 32} if name == "Qwen3Moe" else {}
    torch.manual_seed(3)
    config = getattr(transformers, f"{name}Config")(**sizes)
    getattr(transformers, f"{name}ForCausalLM")(config).to(dtype).save_pretrained(moe)
    adapter = make_adapter(moe, tmp_path / "a", **settings)
    merged = MergeRun(tmp_path / "out", adapter=adapter, dtype="float32")
    ids = token_ids(moe)
    expected = adapter_logits(moe, adapter, ids)
    assert close(logits(merged.model(), ids), expected)
    plain = AutoModelForCausalLM.from_pretrained(moe, dtype=torch.float32)
    assert (logits(plain, ids) - expected).abs().max() > 0.01  # the adapter does change something


@pytest.mark.parametrize(
    "settings",
    [
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        OFTConfig(target_modules=["q_proj"], oft_block_size=8),
        VeraConfig(target_modules=["q_proj"], r=8),
    ],
    ids=["ia3", "oft", "vera"],
)
def test_other_adapters_that_change_weights_are_merged(
    settings: Any, tiny: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    settings.task_type = "CAUSAL_LM"
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), settings)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    network.peft_config["default"].base_model_name_or_path = str(tiny)
    network.save_pretrained(tmp_path / "a")
    merged = MergeRun(tmp_path / "out", adapter=tmp_path / "a")
    ids = token_ids(tiny)
    assert close(logits(merged.model(), ids), adapter_logits(tiny, tmp_path / "a", ids))


def test_several_adapters_are_merged_in_order(tiny: Path, tmp_path: Path) -> None:
    first = make_adapter(tiny, tmp_path / "a", seed=1)
    second = make_adapter(tiny, tmp_path / "b", seed=2, use_dora=True)
    merged = MergeRun(tmp_path / "out", adapter=[first, second])
    ids = token_ids(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    below = PeftModel.from_pretrained(model, first).merge_and_unload()
    assert close(logits(merged.model(), ids), logits(PeftModel.from_pretrained(below, second), ids))
    assert [Path(step["adapter"]).name for step in merged.figures["steps"]] == ["a", "b"]


def test_several_plain_loras_add_up(tiny: Path, tmp_path: Path) -> None:
    first = make_adapter(tiny, tmp_path / "a", seed=1)
    second = make_adapter(tiny, tmp_path / "b", seed=2)
    merged = MergeRun(tmp_path / "out", adapter=[first, second])
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    both = PeftModel.from_pretrained(model, first, adapter_name="first")
    both.load_adapter(second, adapter_name="second")
    both.base_model.set_adapter(["first", "second"])
    ids = token_ids(tiny)
    assert close(logits(merged.model(), ids), logits(both, ids))


def test_the_other_files_of_a_model_are_written(tiny: Path, tmp_path: Path) -> None:
    source = shutil.copytree(tiny, tmp_path / "base")
    odd = '{"temperature": 0.6, "do_sample": false, "eos_token_id": 2}\n'  # many models
    (source / "generation_config.json").write_text(odd, "utf-8")
    merged = MergeRun(tmp_path / "out", adapter=make_adapter(tiny, tmp_path / "a"), model=source)
    assert merged.folder is not None
    assert (merged.folder / "generation_config.json").read_text("utf-8") == odd
    ours, theirs = map(AutoTokenizer.from_pretrained, (merged.folder, source))
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.chat_template == theirs.chat_template
    assert [name for name, _ in merged.events][-2:] == ["merged", "done"]
    stages = [fields["name"] for name, fields in merged.events if name == "stage"]
    assert stages == ["fetch", "fetch", "merge", "save", "verify"]


def test_a_cast_is_written_and_its_difference_reported(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    merged = MergeRun(tmp_path / "out", adapter=adapter, dtype="bfloat16")
    assert set(merged.dtypes().values()) == {"BF16"}
    written = json.loads((tmp_path / "out" / "model" / "config.json").read_text("utf-8"))
    assert written["dtype"] == "bfloat16"
    exact = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    exact = PeftModel.from_pretrained(exact, adapter)
    prompts = check_prompts(AutoTokenizer.from_pretrained(tiny))
    cast = merged.model()
    difference = max(
        float((logits(cast, ids[None]) - logits(exact, ids[None])).abs().max()) for ids in prompts
    )
    assert difference == pytest.approx(merged.figures["cast"]["maximum"], rel=1e-2)
    assert difference > 1e-3
    assert f"{merged.figures['cast']['maximum']:.2g} at most" in merged.note("dtype")


def test_stored_writes_each_weight_in_the_type_that_the_base_has(
    tiny: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(tiny, tmp_path / "base")
    weights = load_file(source / "model.safetensors")
    mixed = {
        name: weight if "norm" in name else weight.to(torch.bfloat16)
        for name, weight in weights.items()
    }
    save_file(mixed, source / "model.safetensors", metadata={"format": "pt"})
    merged = MergeRun(tmp_path / "out", adapter=make_adapter(source, tmp_path / "a"))
    types = merged.dtypes()
    assert {kind for name, kind in types.items() if "norm" in name} == {"F32"}
    assert {kind for name, kind in types.items() if "norm" not in name} == {"BF16"}


def test_large_weights_are_written_in_shards(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    merged = MergeRun(tmp_path / "out", adapter=adapter, max_shard_size="200KB")
    assert len(merged.figures["files"]) > 1
    assert (tmp_path / "out" / "model" / "model.safetensors.index.json").is_file()
    ids = token_ids(tiny)
    assert close(logits(merged.model(), ids), adapter_logits(tiny, adapter, ids))
