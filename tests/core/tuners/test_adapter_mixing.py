"""A mixed adapter adds to its base what the mixed products of its parts are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, make_adapter, token_ids
from merge_run import adapter_logits, close
from peft import PeftModel
from tiny import SIZES
from transformers import AutoModelForCausalLM
from tuned_models import TaskRun, killed_at

from swiftbox.core.tuners import mix_adapters
from swiftbox.core.tuners.written_adapter import adapted_layers
from swiftbox.core.weights import compare
from swiftbox.core.weights.mixing import MixRule
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
def parts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of other ranks, scales and layers."""
    folder = tmp_path_factory.mktemp("parts")
    plain = make_adapter(tiny, folder / "a", seed=1)
    patterns = {"rank_pattern": {"down_proj": 3}, "alpha_pattern": {"q_proj": 5}}
    layers = ["q_proj", "down_proj"]
    scaled = make_adapter(
        tiny, folder / "b", seed=2, r=8, use_rslora=True, target_modules=layers, **patterns
    )
    return [plain, scaled]


def mixed(parts: list[Path], out: Path, **keys: Any) -> TaskRun:
    return TaskRun("mix", out, adapter=list(map(str, parts)), **keys)


def deltas_of(tiny: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """Return what each layer adds to its base, by peft itself."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    layers = adapted_layers(PeftModel.from_pretrained(model, adapter))
    return {name: layer.get_delta_weight("default").detach() for name, layer in layers.items()}


@pytest.fixture(scope="module")
def changes_of_parts(tiny: Path, parts: list[Path]) -> list[dict[str, torch.Tensor]]:
    """What each layer of the parts adds to its base."""
    return [deltas_of(tiny, part) for part in parts]


def test_a_linear_mix_is_the_weighted_sum_exactly(
    tiny: Path, parts: list[Path], changes_of_parts: list[dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    run = mixed(parts, tmp_path / "out", weights=[0.7, -0.4])
    first, second = changes_of_parts
    written = deltas_of(tiny, run.folder)
    assert written.keys() == first.keys() | second.keys()
    for name, delta in written.items():
        expected = 0.7 * first.get(name, torch.zeros(1)) - 0.4 * second.get(name, torch.zeros(1))
        torch.testing.assert_close(delta, expected, rtol=1e-4, atol=1e-6)
    adapter = read_adapter(run.folder)
    assert vllm_faults([adapter], "0.33.0") == {}
    assert adapter.config["base_model_name_or_path"] == str(tiny)
    assert run.figures["layers"]["model.layers.0.self_attn.q_proj"]["rank"] == 4 + 8
    assert run.figures["error"] < 1e-6


def test_a_sum_of_two_adapters_answers_as_both_of_them_at_once(
    tiny: Path, parts: list[Path], tmp_path: Path
) -> None:
    run = mixed(parts, tmp_path / "out", weights=[1, 1])
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    both = PeftModel.from_pretrained(model, parts[0], adapter_name="first")
    both.load_adapter(parts[1], adapter_name="second")
    both.base_model.set_adapter(["first", "second"])
    ids = token_ids(tiny)
    assert close(adapter_logits(tiny, run.folder, ids), logits(both, ids))


DENSE: dict[str, Any] = {"lora_rank": 6, "density": 0.4, "seed": 3}


@pytest.fixture(scope="module")
def dense_mix(
    parts: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], TaskRun]:
    """Mix the parts by a method, once for all tests."""
    folder = tmp_path_factory.mktemp("dense")
    return cache(lambda method: mixed(parts, folder / method, method=method, **DENSE))


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_a_dense_mix_has_the_best_factors_of_its_rank(
    method: str,
    tiny: Path,
    changes_of_parts: list[dict[str, torch.Tensor]],
    dense_mix: Callable[[str], TaskRun],
) -> None:
    run = dense_mix(method)
    for name, delta in deltas_of(tiny, run.folder).items():
        with_layer = [number for number, part in enumerate(changes_of_parts) if name in part]
        changes = [changes_of_parts[number][name] for number in with_layer]
        change = MixRule(method, (1.0, 1.0), 0.4, 3).changes(name, changes, with_layer)
        lost = float((delta - change).double().square().sum())
        best = float((torch.linalg.svdvals(change.double())[6:] ** 2).sum())
        assert lost == pytest.approx(best, rel=1e-3, abs=1e-9)  # values near the trim may tip over
        share = (lost / float(change.double().square().sum())) ** 0.5
        assert run.figures["layers"][name]["error"] == pytest.approx(share, rel=1e-3, abs=1e-5)
    assert "a larger lora_rank lowers it" in run.messages("warning")


def test_adapters_on_fused_experts_are_added_up(tiny: Path, tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    source = shutil.copytree(tiny, tmp_path / "base")
    sizes = {**SIZES, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, head_dim=16)).save_pretrained(source)
    fused = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    parts = [
        make_adapter(source, tmp_path / str(seed), seed=seed, target_modules=["q_proj"], **fused)
        for seed in (1, 2)
    ]
    run = mixed(parts, tmp_path / "out", weights=[0.5, 2])
    first, second = (deltas_of(source, part) for part in parts)
    for name, delta in deltas_of(source, run.folder).items():
        torch.testing.assert_close(
            delta, 0.5 * first[name] + 2 * second[name], rtol=1e-4, atol=1e-5
        )


def test_a_mix_is_the_same_bit_for_bit(
    parts: list[Path], dense_mix: Callable[[str], TaskRun], tmp_path: Path
) -> None:
    runs = dense_mix("dare_ties"), mixed(parts, tmp_path / "out", method="dare_ties", **DENSE)
    first, second = ((run.folder / "adapter_model.safetensors").read_bytes() for run in runs)
    assert first == second


def test_a_killed_mix_of_adapters_leaves_nothing_that_looks_complete(
    parts: list[Path], tmp_path: Path
) -> None:
    with killed_at(mix_adapters, "_verify"):
        mixed(parts, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".model", "inputs.json"]
    discard_unfinished(tmp_path / "out")  # as the next start of the run does
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inputs.json"]
