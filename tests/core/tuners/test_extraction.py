"""An adapter that is extracted makes its base the tuned model, as far as its rank reaches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, token_ids
from merge_run import MergeRun, adapter_logits, close
from safetensors.torch import load_file
from tiny import SIZES
from transformers import AutoModelForCausalLM
from tuned_models import TaskRun, killed_at, tune

from swiftbox.core.tuners import extract
from swiftbox.core.tuners.written_adapter import adapted_layers
from swiftbox.core.weights import compare
from swiftbox.errors import ConfigError, ResultError, RunError
from swiftbox.models.adapters import read_adapter
from swiftbox.models.unservable_adapters import vllm_faults
from swiftbox.runs.creation import discard_unfinished

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def _short_answers() -> Iterator[None]:
    """Two tokens to one question instead of 24 to four, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "QUESTIONS", compare.QUESTIONS[:1])
        patch.setattr(compare, "ANSWER_TOKENS", 2)
        yield


@pytest.fixture(scope="module")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tune(tiny, tmp_path_factory.mktemp("tuned") / "model")


def extracted(tiny: Path, tuned: Path, out: Path, **keys: Any) -> TaskRun:
    return TaskRun("extract", out, model=tiny, tuned_model=tuned, **keys)


def tuned_logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    return logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), ids)


def model_of(kind: str, tiny: Path, folder: Path) -> Path:
    """Save a base of another family with the tokenizer of the tiny model."""
    import transformers

    sizes = {**SIZES, "num_experts_per_tok": 2, "head_dim": 16}
    gpt2 = {"vocab_size": 600, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    classes: dict[str, tuple[str, dict[str, Any]]] = {
        "tied": ("Qwen3", {**SIZES, "head_dim": 16, "tie_word_embeddings": True}),
        "experts": ("Qwen3Moe", {**sizes, "num_experts": 4, "moe_intermediate_size": 32}),
        "transposed": ("GPT2", {**gpt2, "bos_token_id": 2, "eos_token_id": 2}),
    }
    name, keys = classes[kind]
    shutil.copytree(tiny, folder)
    config = getattr(transformers, f"{name}Config")(**keys)
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    torch.manual_seed(3)
    getattr(transformers, head)(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base_of(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a base of another family, saved once for all tests."""
    folder = tmp_path_factory.mktemp("bases")
    return cache(lambda kind: model_of(kind, tiny, folder / kind))


@pytest.mark.parametrize("kind", ["tied", "experts", "transposed"])
def test_a_full_rank_adapter_with_every_change_is_the_tuned_model(
    kind: str, base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    source = base_of(kind)
    model = tune(source, tmp_path / "tuned")
    run = extracted(source, model, tmp_path / "out", lora_rank=128, other_changes="save")
    ids = token_ids(source)
    expected = tuned_logits(model, ids)
    assert close(adapter_logits(source, run.folder, ids), expected)
    assert (tuned_logits(source, ids) - expected).abs().max() > 0.02  # something changed
    assert run.figures["error"] < 1e-5
    assert run.figures["dropped"] == {}


@pytest.fixture(scope="module")
def rank_4(tiny: Path, tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> TaskRun:
    out = tmp_path_factory.mktemp("rank") / "out"
    return extracted(tiny, tuned, out, lora_rank=4, modules_to_save=["lm_head", "norm"])


def test_the_factors_of_a_layer_are_the_best_of_their_rank(
    tiny: Path, tuned: Path, rank_4: TaskRun
) -> None:
    run = rank_4
    tensors = load_file(run.folder / "adapter_model.safetensors")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, tuned))
    lost = total = 0.0
    for name, layer in run.figures["layers"].items():
        change = (after[f"{name}.weight"] - before[f"{name}.weight"]).double()
        inside, outside = (
            tensors[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB"
        )
        best = float((torch.linalg.svdvals(change)[4:] ** 2).sum())
        left = float((change - outside @ inside).square().sum())
        # Float32: the factors are off by 1e-7 of the matrix, the sums of squares by as much.
        assert left == pytest.approx(best, rel=1e-5)
        assert layer["error"] == pytest.approx((left / float(change.square().sum())) ** 0.5)
        lost, total = lost + left, total + float(change.square().sum())
    assert run.figures["error"] == pytest.approx((lost / total) ** 0.5)
    assert len(run.figures["layers"]) == 14


def test_an_extracted_adapter_is_one_that_every_server_loads(
    tiny: Path, tuned: Path, tmp_path: Path
) -> None:
    run = extracted(tiny, tuned, tmp_path / "out", lora_rank="auto", kept_energy=0.5, max_rank=40)
    adapter = read_adapter(run.folder)
    assert vllm_faults([adapter], "0.33.0") == {}
    ranks = {layer["rank"] for layer in run.figures["layers"].values()}
    assert len(ranks) > 1
    assert max(ranks) <= 40
    assert all(layer["error"] ** 2 <= 0.5 for layer in run.figures["layers"].values())
    assert adapter.config["base_model_name_or_path"] == str(tiny)
    assert (adapter.has_tokenizer, adapter.full_weights) == (True, {})


def test_changes_that_are_left_out_are_named_with_their_sizes(
    tiny: Path, tuned: Path, rank_4: TaskRun
) -> None:
    run = rank_4
    (warning,) = [fields for name, fields in run.events if name == "warning"]
    assert "embed_tokens.weight x1 (1" in warning["message"]  # 0.02 of 0.2: 10 %
    assert "other_changes: save keeps them" in warning["message"]
    assert run.figures["saved"] == ["lm_head", "model.norm"]
    weights = ["lm_head.weight", "model.norm.weight"]  # not those whose names end in norm too
    assert sorted(read_adapter(run.folder).full_weights) == weights
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, tuned))
    for name, share in run.figures["dropped"].items():
        change = (after[name] - before[name]).double().norm() / before[name].double().norm()
        assert share == pytest.approx(float(change) if change.isfinite() else 1.0)
    assert "lm_head.weight" not in run.figures["dropped"]


def test_a_larger_vocabulary_needs_its_tables_and_is_refused_without_them(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    source = base_of("tied")
    model = tune(source, tmp_path / "tuned", rows=640)
    with pytest.raises(ConfigError, match=r"has 640 rows, that of the base 600") as refused:
        TaskRun("extract", model=source, tuned_model=model)
    tables = json.loads(
        refused.value.hint.partition(": ")[2]
        .replace("[", '["')
        .replace("]", '"]')
        .replace(", ", '", "')
    )
    run = extracted(source, model, tmp_path / "out", lora_rank=128, modules_to_save=tables)
    merged = MergeRun(tmp_path / "merged", adapter=run.folder)
    assert merged.model().config.vocab_size == 640


def test_only_the_layer_that_changed_gets_factors(tiny: Path, tmp_path: Path) -> None:
    model = tune(tiny, tmp_path / "tuned", only="layers.1.mlp.up_proj", dtype=torch.bfloat16)
    before = tune(tiny, tmp_path / "before", scale=0.0, dtype=torch.bfloat16)
    run = extracted(before, model, tmp_path / "out", dtype="bfloat16")
    assert list(run.figures["layers"]) == ["model.layers.1.mlp.up_proj"]
    tensors = load_file(run.folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_a_model_that_was_not_trained_is_refused(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy")
    with pytest.raises(RunError, match="has the weights of its base"):
        extracted(tiny, copy, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_factors_that_were_written_wrong_fail_the_run(
    tiny: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = extract.fill_layers

    def wrong(network: Any, factors: Any, dtype: str) -> None:
        fill(network, factors, dtype)
        for layer in adapted_layers(network).values():
            layer.lora_B["default"].weight.data *= 1.01

    monkeypatch.setattr(extract, "fill_layers", wrong)
    with pytest.raises(ResultError, match=r"of the written adapter is off by 0\.0"):
        extracted(tiny, tuned, tmp_path / "out", lora_rank=128)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["inputs.json"]


def test_a_killed_extraction_leaves_nothing_that_looks_complete(
    tiny: Path, tuned: Path, tmp_path: Path
) -> None:
    with killed_at(extract, "verify"):
        extracted(tiny, tuned, tmp_path / "out", lora_rank=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".model", "inputs.json"]
    discard_unfinished(tmp_path / "out")  # as the next start of the run does
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inputs.json"]
