"""Mixed models are the formulas of the papers, tensor by tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, token_ids
from peft.utils import merge_utils
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from tuned_models import TaskRun, killed_at, tune

from swiftbox.core.weights import compare, mix_models
from swiftbox.core.weights.mixing import MixRule, slerp
from swiftbox.errors import ResultError
from swiftbox.runs.creation import discard_unfinished

pytestmark = pytest.mark.filterwarnings("ignore")

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def _short_answers() -> Iterator[None]:
    """Two tokens to one question instead of 24 to four, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "QUESTIONS", compare.QUESTIONS[:1])
        patch.setattr(compare, "ANSWER_TOKENS", 2)
        yield


@pytest.fixture(scope="module")
def parts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    return [tune(tiny, folder / name, seed=seed) for seed, name in enumerate(("a", "b"))]


def mixed(parts: list[Path], out: Path, **keys: Any) -> TaskRun:
    return TaskRun("mix", out, tuned_model=list(map(str, parts)), **keys)


def tensors_of(folder: Path) -> Tensors:
    tensors: Tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


def random_deltas(count: int = 3, shape: tuple[int, ...] = (7, 9)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


# ---- formulas


def trimmed(delta: torch.Tensor, density: float) -> torch.Tensor:
    """Keep the largest values (arXiv:2306.01708, section 4.1, step 1)."""
    number = int(density * delta.numel())
    least = delta.abs().flatten().sort(descending=True).values[number - 1]
    return torch.where(delta.abs() >= least, delta, 0.0)


def ties_of(deltas: list[torch.Tensor], weights: tuple[float, ...]) -> torch.Tensor:
    """Elect the signs and average the values that agree (the same section, steps 2 and 3)."""
    signs = torch.where(sum(deltas) >= 0, 1.0, -1.0)  # type: ignore[arg-type]
    total, number = torch.zeros_like(deltas[0]), torch.zeros_like(deltas[0])
    for weight, delta in zip(weights, deltas, strict=True):
        agrees = torch.sign(delta) == signs
        total += torch.where(agrees, weight * delta, 0.0)
        number += agrees
    return total / number.clamp(min=1)


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_ties_is_the_formula_of_its_paper(density: float) -> None:
    deltas, weights = random_deltas(), (1.0, 0.5, 2.0)
    expected = ties_of([trimmed(delta, density) for delta in deltas], weights)
    rule = MixRule("ties", weights, density)
    torch.testing.assert_close(rule.changes("w", deltas, range(3)), expected)


def test_dare_keeps_a_share_and_divides_it_by_the_density() -> None:
    deltas = [torch.ones(40, 50)]
    change = MixRule("dare_linear", (2.0,), 0.25, seed=3).changes("w", deltas, [0])
    assert set(change.unique().tolist()) == {0.0, 8.0}
    # 2,000 draws of probability 0.25: 5 standard deviations are 97.
    assert abs(int((change > 0).sum()) - 500) < 97


def test_dare_depends_on_the_seed_and_the_weight_alone() -> None:
    deltas = random_deltas()

    def change(seed: int, name: str) -> torch.Tensor:
        return MixRule("dare_ties", (1.0,) * 3, 0.5, seed).changes(name, deltas, range(3))

    first = change(1, "a")
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert torch.equal(change(1, "a"), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(change(2, "a"), first)
    assert not torch.equal(change(1, "b"), first)


def test_the_formulas_are_those_of_peft_on_changes() -> None:
    deltas, weights = random_deltas(), (0.5, 0.25, 0.25)
    expected = merge_utils.ties(deltas, torch.tensor(weights), 0.5)
    assert torch.equal(MixRule("ties", weights, 0.5).changes("w", deltas, range(3)), expected)


def test_slerp_keeps_the_norm_on_a_sphere_and_is_linear_for_parallel_weights() -> None:
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    middle = slerp(first, second, 0.5)
    torch.testing.assert_close(middle, torch.full((2,), math.sqrt(0.5)))
    third = slerp(first, second, 1 / 3)
    torch.testing.assert_close(third, torch.tensor([math.cos(math.pi / 6), 0.5]))
    torch.testing.assert_close(slerp(first, 3 * first, 0.25), 1.5 * first)
    assert torch.equal(slerp(torch.zeros(2), second, 0.5), 0.5 * second)


# ---- models


def test_a_linear_mix_without_a_base_is_the_weighted_mean(
    parts: list[Path], tmp_path: Path
) -> None:
    run = mixed(parts, tmp_path / "out", weights=[0.25, 0.75], max_shard_size="100KB")
    first, second = map(tensors_of, parts)
    written = tensors_of(run.folder)
    assert written.keys() == first.keys()
    for name, value in written.items():
        torch.testing.assert_close(value, 0.25 * first[name] + 0.75 * second[name])
    assert len(list(run.folder.glob("*.safetensors"))) > 2
    model = AutoModelForCausalLM.from_pretrained(run.folder, dtype=torch.float32)
    assert torch.isfinite(logits(model, token_ids(run.folder))).all()
    assert run.figures["shares"] == [0.25, 0.75]


METHODS = {"ties": (1.0, 1.0), "linear": (1.0, 0.5)}


@pytest.mark.parametrize("method", METHODS)
def test_changes_from_the_base_are_mixed(
    method: str, tiny: Path, parts: list[Path], tmp_path: Path
) -> None:
    weights = METHODS[method]
    keys: dict[str, Any] = {"weights": list(weights)} if method == "linear" else {}
    run = mixed(parts, tmp_path / "out", model=tiny, method=method, seed=5, density=0.5, **keys)
    before, first, second = map(tensors_of, (tiny, *parts))
    for name, value in tensors_of(run.folder).items():
        deltas = [part[name] - before[name] for part in (first, second)]
        if method == "ties":
            change = ties_of([trimmed(delta, 0.5) for delta in deltas], weights)
        else:
            change = weights[0] * deltas[0] + weights[1] * deltas[1]
        torch.testing.assert_close(value, before[name] + change)


def test_a_mix_of_half_precision_is_written_as_stored_or_as_set(tiny: Path, tmp_path: Path) -> None:
    first = tune(tiny, tmp_path / "a", dtype=torch.bfloat16)
    run = mixed([first, first], tmp_path / "out")
    assert {tensor.dtype for tensor in tensors_of(run.folder).values()} == {torch.bfloat16}
    for name, value in tensors_of(first).items():
        assert torch.equal(tensors_of(run.folder)[name], value)  # half of each: the same number
    run = mixed([first, first], tmp_path / "single", dtype="float32")
    assert json.loads((run.folder / "config.json").read_text("utf-8"))["dtype"] == "float32"
    assert AutoModelForCausalLM.from_pretrained(run.folder).dtype == torch.float32


def test_a_tensor_that_was_written_wrong_fails_the_run(
    parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    companions = mix_models._write_companions

    def wrong(job: Any, target: Path) -> None:
        companions(job, target)
        weights = load_file(target / "model.safetensors")
        weights["model.norm.weight"][0] += 1e-3
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(mix_models, "_write_companions", wrong)
    with pytest.raises(ResultError, match=r"model\.norm\.weight was not written as it was mixed"):
        mixed(parts, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["inputs.json"]


def test_nan_in_a_part_fails_the_run(parts: list[Path], tiny: Path, tmp_path: Path) -> None:
    broken = tune(tiny, tmp_path / "nan")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ResultError, match=r"model\.norm\.weight is not finite"):
        mixed([parts[0], broken], tmp_path / "out")


def test_a_killed_mix_leaves_nothing_that_looks_complete(parts: list[Path], tmp_path: Path) -> None:
    with killed_at(mix_models, "_compare_models"):
        mixed(parts, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".model", "inputs.json"]
    discard_unfinished(tmp_path / "out")  # as the next start of the run does
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inputs.json"]
