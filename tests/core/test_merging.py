"""What a merge writes is base and adapter, by peft's own word; what is not leaves nothing."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from adapters import logits, make_adapter, make_run, qlora, save_adapter, token_ids
from bitsandbytes.functional import dequantize_4bit
from made_up import made_up
from peft import IA3Config, LoraConfig, OFTConfig, PeftModel, VeraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import SIZES, build
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from swiftbox.config.merge import Quantization
from swiftbox.core.weights import merge as core_merge
from swiftbox.core.weights import merge_bases as bases
from swiftbox.core.weights.compare import QUESTIONS, Difference, Seen, difference, prompts
from swiftbox.errors import ResultError, RunError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import loads
from swiftbox.tasks.merge import RECORD, run

pytestmark = pytest.mark.filterwarnings("ignore")


class Merged:
    """A merge that was carried out: its folder, its events, its figures."""

    def __init__(self, out: Path, **keys: Any) -> None:
        said = json.dumps({"task": "merge", "hub": "local", **keys}, default=str)
        planned = plan(loads(said, source="a.yaml").config, made_up("cpu")).config
        config = with_absolute_paths(planned)
        check_config(config)
        out.mkdir()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.folder = run(config, out, self._emit)  # type: ignore[arg-type]
        assert self.folder == out / "model"
        self.figures = json.loads((out / RECORD).read_text("utf-8"))

    def _emit(self, event: str, **said: Any) -> None:
        self.events.append((event, said))

    def model(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)

    def says(self, key: str) -> str:
        return " ".join(
            said["message"] for name, said in self.events if name == "note" and said["key"] == key
        )

    def tensors(self) -> dict[str, str]:
        """Return the number type of each tensor that was written."""
        found = {}
        for path in self.folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                found |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
        return found


def truth(base: Path, adapter: Path, ids: torch.Tensor) -> torch.Tensor:
    """Return what peft's own base with adapter says."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(model, adapter), ids)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether logits are equal to 1e-5 of the largest."""
    gap = (one - other).abs().max()
    return bool(gap <= 1e-5 * max(1.0, float(other.abs().max())))


LORAS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "bias": {"bias": "lora_only", "lora_bias": False},
    "high-rank": {"r": 32, "lora_alpha": 64, "target_modules": "all-linear"},
}


@pytest.mark.parametrize("kind", LORAS)
def test_merged_says_what_base_and_adapter_say(kind: str, tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", **LORAS[kind])
    made = Merged(tmp_path / "out", adapter=adapter)
    ids = token_ids(tiny)
    wanted = truth(tiny, adapter, ids)
    assert close(logits(made.model(), ids), wanted)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert (logits(plain, ids) - wanted).abs().max() > 0.05  # the adapter does change something
    (step,) = made.figures["steps"]
    assert step["maximum"] <= step["limit"]
    assert (step["same_answers"], step["answers"]) == (len(QUESTIONS), len(QUESTIONS))


@pytest.mark.parametrize("experts", [False, True])
def test_a_mixture_of_experts_is_merged(experts: bool, tiny: Path, tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    base = shutil.copytree(tiny, tmp_path / "base")
    sizes = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **sizes, head_dim=16)).save_pretrained(base)
    fused = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    adapter = make_adapter(
        base, tmp_path / "a", target_modules=["q_proj"], **(fused if experts else {})
    )
    made = Merged(tmp_path / "out", adapter=adapter)
    ids = token_ids(base)
    assert close(logits(made.model(), ids), truth(base, adapter, ids))
    assert "model.layers.0.mlp.experts.0.up_proj.weight" in made.tensors()  # as the base has them


@pytest.mark.parametrize(
    "settings",
    [
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        OFTConfig(target_modules=["q_proj"], oft_block_size=8),
        VeraConfig(target_modules=["q_proj"], r=8),
    ],
    ids=["ia3", "oft", "vera"],
)
def test_other_kinds_that_change_weights_merge_too(
    settings: Any, tiny: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    settings.task_type = "CAUSAL_LM"
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), settings)
    for value in (one for one in network.parameters() if one.requires_grad):
        value.data += 0.2 * torch.randn_like(value)
    network.peft_config["default"].base_model_name_or_path = str(tiny)
    network.save_pretrained(tmp_path / "a")
    made = Merged(tmp_path / "out", adapter=tmp_path / "a")
    ids = token_ids(tiny)
    assert close(logits(made.model(), ids), truth(tiny, tmp_path / "a", ids))


def test_a_stack_is_merged_one_after_the_other(tiny: Path, tmp_path: Path) -> None:
    first = make_adapter(tiny, tmp_path / "a", seed=1)
    second = make_adapter(tiny, tmp_path / "b", seed=2, use_dora=True)
    made = Merged(tmp_path / "out", adapter=[first, second])
    ids = token_ids(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    below = PeftModel.from_pretrained(model, first).merge_and_unload()
    assert close(logits(made.model(), ids), logits(PeftModel.from_pretrained(below, second), ids))
    assert [Path(one["adapter"]).name for one in made.figures["steps"]] == ["a", "b"]


def test_a_stack_of_plain_loras_is_their_sum(tiny: Path, tmp_path: Path) -> None:
    first = make_adapter(tiny, tmp_path / "a", seed=1)
    second = make_adapter(tiny, tmp_path / "b", seed=2)
    made = Merged(tmp_path / "out", adapter=[first, second])
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    both = PeftModel.from_pretrained(model, first, adapter_name="one")
    both.load_adapter(second, adapter_name="two")
    both.base_model.set_adapter(["one", "two"])
    ids = token_ids(tiny)
    assert close(logits(made.model(), ids), logits(both, ids))


def test_what_goes_with_a_model_is_written_along(tiny: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny, tmp_path / "base")
    odd = '{"temperature": 0.6, "do_sample": false, "eos_token_id": 2}\n'  # many models have it so
    (base / "generation_config.json").write_text(odd, "utf-8")
    made = Merged(tmp_path / "out", adapter=make_adapter(tiny, tmp_path / "a"), model=base)
    assert made.folder is not None
    assert (made.folder / "generation_config.json").read_text("utf-8") == odd
    ours, theirs = (AutoTokenizer.from_pretrained(one) for one in (made.folder, base))
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.chat_template == theirs.chat_template
    assert [name for name, _ in made.events][-2:] == ["merged", "done"]
    stages = [said["name"] for name, said in made.events if name == "stage"]
    assert stages == ["fetch", "fetch", "merge", "save", "verify"]


def test_a_cast_is_written_and_its_difference_told(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    made = Merged(tmp_path / "out", adapter=adapter, dtype="bfloat16")
    assert set(made.tensors().values()) == {"BF16"}
    said = json.loads((tmp_path / "out" / "model" / "config.json").read_text("utf-8"))
    assert said["dtype"] == "bfloat16"
    exact = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    exact = PeftModel.from_pretrained(exact, adapter)
    asked = prompts(AutoTokenizer.from_pretrained(tiny))
    cast = made.model()
    gap = max(
        float((logits(cast, ids[None]) - logits(exact, ids[None])).abs().max()) for ids in asked
    )
    assert gap == pytest.approx(made.figures["cast"]["maximum"], rel=1e-2)
    assert gap > 1e-3
    assert f"{made.figures['cast']['maximum']:.2g} at most" in made.says("dtype")


def test_stored_writes_each_weight_in_the_type_that_the_base_has(
    tiny: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    mixed = {
        name: one if "norm" in name else one.to(torch.bfloat16) for name, one in weights.items()
    }
    save_file(mixed, base / "model.safetensors", metadata={"format": "pt"})
    made = Merged(tmp_path / "out", adapter=make_adapter(base, tmp_path / "a"))
    types = made.tensors()
    assert {kind for name, kind in types.items() if "norm" in name} == {"F32"}
    assert {kind for name, kind in types.items() if "norm" not in name} == {"BF16"}


def test_large_weights_are_written_in_shards(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    made = Merged(tmp_path / "out", adapter=adapter, max_shard_size="200KB")
    assert len(made.figures["files"]) > 1
    assert (tmp_path / "out" / "model" / "model.safetensors.index.json").is_file()
    ids = token_ids(tiny)
    assert close(logits(made.model(), ids), truth(tiny, adapter, ids))


# ---- bases of 4 and 8 bits


def on_quantized(base: Path, adapter: Path, settings: BitsAndBytesConfig) -> Any:
    """Return the adapter on the very base it was trained on, as bitsandbytes computes it."""
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, quantization_config=settings
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return PeftModel.from_pretrained(model, adapter)


def four_bits(double: bool) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )


@pytest.mark.parametrize("double", [True, False])
def test_dequantized_is_the_base_that_an_nf4_adapter_was_trained_on(
    double: bool, tiny: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "run" / "model")
    trained = make_run(adapter, tiny, **qlora(bnb_4bit_use_double_quant=double))
    made = Merged(tmp_path / "out", adapter=trained, merge_base="dequantized")
    ids = token_ids(tiny)
    live = logits(on_quantized(tiny, adapter, four_bits(double)), ids)
    assert close(logits(made.model(), ids), live)


def test_weights_are_unpacked_one_at_a_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def seen(*given: Any) -> torch.Tensor:
        nonlocal most
        made: torch.Tensor = dequantize_4bit(*given)
        most = max(most, sum(one() is not None for one in unpacked))
        unpacked.append(weakref.ref(made))
        return made

    monkeypatch.setattr(bases, "dequantize_4bit", seen)
    bases.load_base(tiny, Quantization(4, "nf4", True, "float32"))
    assert len(unpacked) > 6
    assert most <= 2  # the one that is copied, and the one before it


def test_a_processor_that_packs_four_bits_changes_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora())
    plain = Merged(tmp_path / "plain", adapter=trained, merge_base="dequantized")
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    packing = Merged(tmp_path / "packing", adapter=trained, merge_base="dequantized")
    ids = token_ids(tiny)
    assert torch.equal(logits(plain.model(), ids), logits(packing.model(), ids))


def test_a_training_in_bfloat16_has_seen_its_own_rounding(tiny: Path, tmp_path: Path) -> None:
    trained = make_run(
        make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora(dtype="bfloat16")
    )
    made = Merged(tmp_path / "out", adapter=trained, merge_base="dequantized").model()
    model = AutoModelForCausalLM.from_pretrained(
        tiny, dtype=torch.bfloat16, quantization_config=four_bits(True)
    )
    layer = model.model.layers[0].mlp.down_proj  # no adapter there
    one_by_one = torch.eye(layer.in_features, dtype=torch.bfloat16)
    layer.support_avx512bf16_for_cpu = False
    with torch.no_grad():
        columns = layer(one_by_one).float().T  # (O, I): the weights as a forward pass has them
    assert torch.equal(made.model.layers[0].mlp.down_proj.weight, columns)
    assert torch.equal(made.model.embed_tokens.weight, model.model.embed_tokens.weight.float())


def test_the_two_bases_of_an_nf4_adapter_are_compared(tiny: Path, tmp_path: Path) -> None:
    trained = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora())
    full = Merged(tmp_path / "full", adapter=trained)
    seen = Merged(tmp_path / "seen", adapter=trained, merge_base="dequantized")
    ids = token_ids(tiny)
    assert close(logits(full.model(), ids), truth(tiny, trained / "model", ids))
    asked = prompts(AutoTokenizer.from_pretrained(tiny))
    gaps = torch.cat(
        [
            (logits(full.model(), one[None]) - logits(seen.model(), one[None])).abs().flatten()
            for one in asked
        ]
    )
    for made in (full, seen):
        figures = made.figures["bases"]
        assert figures["maximum"] == pytest.approx(float(gaps.max()), rel=1e-3)
        assert figures["mean"] == pytest.approx(float(gaps.mean()), rel=1e-3)
        assert f"{figures['maximum']:.2g} at most" in made.says("merge_base")
    assert (full.figures["bases"]["merged"], seen.figures["bases"]["merged"]) == (
        "full",
        "dequantized",
    )
    assert gaps.max() > 1e-2  # the two are not the same model


def test_a_base_of_eight_bits_is_dequantized_too(tiny: Path, tmp_path: Path) -> None:
    trained = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora(quant_bits=8))
    made = Merged(tmp_path / "out", adapter=trained, merge_base="dequantized")
    assert made.figures["bases"]["maximum"] > 0
    model = AutoModelForCausalLM.from_pretrained(
        tiny, dtype=torch.float32, quantization_config=BitsAndBytesConfig(load_in_8bit=True)
    )
    layer = model.model.layers[0].mlp.down_proj  # no adapter there
    rounded = layer.weight.data.float() * layer.weight.SCB.float()[:, None] / 127
    written = made.model().model.layers[0].mlp.down_proj.weight
    assert torch.allclose(written, rounded, atol=1e-6)


# ---- tied embeddings and vocabularies that have grown


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose head is its embeddings."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = build("qwen3", tmp_path_factory.mktemp("tied"))
    values = json.loads((folder / "config.json").read_text("utf-8"))
    torch.manual_seed(3)
    Qwen3ForCausalLM(Qwen3Config(**{**values, "tie_word_embeddings": True})).save_pretrained(folder)
    return folder


TABLES: dict[str, dict[str, Any]] = {
    "head-saved": {"modules_to_save": ["lm_head"]},
    "embeddings-saved": {"modules_to_save": ["embed_tokens"]},
    "both-saved": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "head-adapted": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings-adapted": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.mark.parametrize("kind", TABLES)
def test_tied_embeddings_that_were_trained_apart_are_written_apart(
    kind: str, tied: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tied, tmp_path / "a", **TABLES[kind])
    made = Merged(tmp_path / "out", adapter=adapter)
    ids = token_ids(tied)
    assert close(logits(made.model(), ids), truth(tied, adapter, ids))
    assert not made.model().config.tie_word_embeddings
    assert "lm_head.weight" in made.tensors()


@pytest.mark.parametrize("settings", [{}, {"trainable_token_indices": [5, 9]}])
def test_tied_embeddings_that_were_not_stay_tied(
    settings: dict[str, Any], tied: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tied, tmp_path / "a", **settings)
    weights = load_file(adapter / "adapter_model.safetensors")
    for name in (one for one in weights if "token_adapter" in one):
        weights[name] = weights[name] + 0.5
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    made = Merged(tmp_path / "out", adapter=adapter)
    ids = torch.tensor([[5, 17, 9, 40, 5]])
    assert close(logits(made.model(), ids), truth(tied, adapter, ids))
    assert made.model().config.tie_word_embeddings
    assert "lm_head.weight" not in made.tensors()


def grown(base: Path, folder: Path, **keys: Any) -> tuple[Path, Any]:
    """Save an adapter whose training added tokens and a template; return it and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<new_{at}>" for at in range(40)])
    tokenizer.chat_template = "<new_1>" + tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer) + 8, mean_resizing=False)
    save_adapter(model, base, folder, **keys)
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


@pytest.mark.parametrize("which", ["plain", "tied"])
def test_a_vocabulary_that_has_grown_is_merged_with_its_tokenizer(
    which: str, tiny: Path, tied: Path, tmp_path: Path
) -> None:
    base = tied if which == "tied" else tiny
    both = ["embed_tokens", "lm_head"]
    adapter, tokenizer = grown(base, tmp_path / "a", modules_to_save=both)
    made = Merged(tmp_path / "out", adapter=adapter)
    written = AutoTokenizer.from_pretrained(made.folder)
    assert written.chat_template == tokenizer.chat_template
    ids = written("a <new_7> b <new_39>", return_tensors="pt").input_ids
    assert int(ids.max()) == len(tokenizer) - 1
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer) + 8, mean_resizing=False)
    wanted = logits(PeftModel.from_pretrained(model, adapter), ids)
    found = logits(made.model(), ids)
    assert found.shape == wanted.shape
    assert close(found, wanted)
    assert made.model().config.vocab_size == len(tokenizer) + 8


def test_new_tokens_without_their_embeddings_are_refused(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens([f"<new_{at}>" for at in range(400)])
    tokenizer.chat_template = "<new_399>" + tokenizer.chat_template
    tokenizer.save_pretrained(adapter)
    with pytest.raises(RunError, match="the embeddings 600 rows"):
        Merged(tmp_path / "out", adapter=adapter)
    assert not (tmp_path / "out" / "model").exists()


def test_a_model_that_scores_is_merged_with_its_head(tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
    network = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"]))
    for name, value in network.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            value.data += 0.1 * torch.randn_like(value)
    network.peft_config["default"].base_model_name_or_path = str(tiny)
    network.save_pretrained(tmp_path / "a")
    Merged(tmp_path / "out", adapter=tmp_path / "a")
    written = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "model")
    ids = token_ids(tiny)
    assert close(logits(written, ids), logits(network, ids))


# ---- what goes wrong leaves nothing behind


def nothing_left(out: Path) -> bool:
    return not (out / "model").exists() and not (out / ".model").exists()


def test_a_merge_that_is_wrong_fails_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import Linear

    right = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, name: 1.01 * right(self, name))
    adapter = make_adapter(tiny, tmp_path / "a")
    with pytest.raises(ResultError, match="merged is not base and adapter: logits differ by"):
        Merged(tmp_path / "out", adapter=adapter)
    assert nothing_left(tmp_path / "out")


def test_a_write_that_is_wrong_fails_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = core_merge._write

    def wrong(model: Any, tokenizer: Any, work: Any, aside: Path) -> None:
        right(model, tokenizer, work, aside)
        weights = load_file(aside / "model.safetensors")
        weights["model.layers.1.mlp.up_proj.weight"] *= 1.001
        save_file(weights, aside / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(core_merge, "_write", wrong)
    adapter = make_adapter(tiny, tmp_path / "a")
    with pytest.raises(ResultError, match="what was written is not what was merged"):
        Merged(tmp_path / "out", adapter=adapter)
    assert nothing_left(tmp_path / "out")


def test_an_adapter_with_nan_fails_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match="cannot be merged"):
        Merged(tmp_path / "out", adapter=adapter)
    assert nothing_left(tmp_path / "out")


def test_numbers_that_the_type_cannot_hold_fail_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", modules_to_save=["lm_head"])
    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.lm_head.weight"][3, 3] = 70_000.0
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match=r"lm_head\.weight does not fit into float16") as caught:
        Merged(tmp_path / "out", adapter=adapter, dtype="float16")
    assert "bfloat16" in caught.value.hint
    assert nothing_left(tmp_path / "out")


def test_a_tensor_without_a_place_fails_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"] = torch.ones(4, 128)
    weights["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"] = torch.ones(64, 4)
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="2 of the weights of"):
        Merged(tmp_path / "out", adapter=adapter)


def test_a_lost_tensor_fails_the_run(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    del weights["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="1 of the weights of"):
        Merged(tmp_path / "out", adapter=adapter)


def seen(values: torch.Tensor, answer: tuple[int, ...], margin: float) -> Seen:
    return Seen((values,), (answer,), ((margin,) * len(answer),))


def test_an_answer_that_turns_at_a_tie_is_the_same_and_at_more_is_not() -> None:
    values = torch.ones(2, 3)
    at_tie = difference(seen(values, (1, 2), 1e-6), seen(values, (1, 0), 1e-6))
    clear = difference(seen(values, (1, 2), 1e-2), seen(values, (1, 0), 1e-2))
    assert (at_tie.is_rounding, clear.is_rounding) == (True, False)


def test_nan_is_no_rounding() -> None:
    assert not Difference(float("nan"), 0.0, 1.0, 1, 1).is_rounding
    assert not difference(
        seen(torch.ones(1, 3), (1,), 1.0), seen(torch.full((1, 3), torch.nan), (1,), 1.0)
    ).is_rounding
