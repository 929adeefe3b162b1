"""What single tuners and optimizers do to weights: rates, frozen parts, noise, ranks, blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    TrainingArguments,
)
from tuner_runs import (
    STEPS,
    logits,
    train,
)

from swiftbox.core.data import batches
from swiftbox.core.data.batches import LINES, RESTARTING_LINES, collate_rows
from swiftbox.core.data.samples import TokenRow
from swiftbox.core.losses.scoring import PrefixGroup, scored_batch
from swiftbox.core.training.galore import leading_directions, project, project_back
from swiftbox.core.training.neftune import add_noise, row_lengths
from swiftbox.core.training.optimizers import lora_plus
from swiftbox.core.tuners.llamapro import expand
from swiftbox.errors import ConfigError

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_b_matrices_learn_faster_by_the_ratio(tmp_path: Path, tiny: Path) -> None:
    trained = train(tmp_path, tiny, max_steps=1)
    arguments = TrainingArguments(output_dir=str(tmp_path), learning_rate=1e-3, use_cpu=True)
    optimizer = lora_plus(trained.network, arguments, ratio=16)
    rates = {
        id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]
    }
    for name, weight in trained.network.named_parameters():
        if "lora_A" in name:
            assert rates[id(weight)] == 1e-3
        if "lora_B" in name:
            assert rates[id(weight)] == pytest.approx(16e-3)


def test_lora_fa_leaves_the_a_matrices_as_they_began(tmp_path: Path, tiny: Path) -> None:
    trained = train(tmp_path, tiny, max_steps=3, optim="lora_fa")
    frozen = {
        name for name, weight in trained.network.named_parameters() if not weight.requires_grad
    }
    assert any("lora_A" in name for name in frozen)
    assert not any("lora_B" in name for name in frozen)


def test_noise_is_scaled_by_the_length_of_each_row() -> None:
    joined = {"position_ids": torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]])}
    assert row_lengths(joined).tolist() == [[3, 3, 3, 2, 2], [5] * 5]
    padded = {"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    assert row_lengths(padded).tolist() == [[2, 2, 2], [3, 3, 3]]


def test_single_rows_of_a_batch_have_their_own_lengths_for_the_noise() -> None:
    """The rest of a line must not continue its row, which would make every row the longest."""
    rows = [TokenRow(np.arange(length, dtype=np.int32), np.arange(length)) for length in (600, 900)]
    units = [[row] for row in rows]
    batch = collate_rows(units, RESTARTING_LINES)
    lengths = {int(number) for number in row_lengths(batch)[:, 0]}  # of each line's first row
    assert lengths == {600, 900}
    pairs = scored_batch(rows, [PrefixGroup((0,)), PrefixGroup((1,))], RESTARTING_LINES)
    assert {int(number) for number in row_lengths(pairs)[:, 0]} == {600, 900}
    continued = row_lengths(collate_rows(units, LINES))
    assert {int(number) for number in continued[:, 0]} == {900}  # why the layout exists


@pytest.mark.parametrize(("noise", "layout"), [(5.0, RESTARTING_LINES), (None, LINES)])
def test_a_training_with_noise_collates_lines_that_restart(
    noise: float | None, layout: str, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts: set[str] = set()

    def collate(units: Any, layout: str) -> Any:
        layouts.add(layout)
        return collate_rows(units, layout)

    monkeypatch.setattr(batches, "collate_rows", collate)
    train(tmp_path, tiny, max_steps=1, attn_implementation="sdpa", neftune_noise_alpha=noise)
    assert layouts == {layout}


def test_noise_is_bounded_and_added_only_in_training(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    ids, positions = torch.arange(6)[None], torch.tensor([[0, 1, 0, 1, 2, 3]])
    seen: list[torch.Tensor] = []
    add_noise(model, 5.0)
    first = model.model.layers[0]
    first.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    for training in (False, True):
        model.train(training)(input_ids=ids, position_ids=positions, use_cache=False)
    moved = (seen[1] - seen[0]).abs().amax(-1)[0]  # (T,)
    reach = 5.0 / (torch.tensor([2, 2, 4, 4, 4, 4]) * 64).sqrt()
    assert (moved <= reach).all()
    assert (moved > 0.8 * reach).all()


def test_adalora_ends_at_its_average_rank(tmp_path: Path, tiny: Path) -> None:
    keys = {"adalora_init_r": 6, "adalora_target_r": 3, "adalora_deltaT": 1}
    trained = train(tmp_path, tiny, tuner_type="adalora", learning_rate=3e-2, **keys)
    recorded = json.loads((trained.folder / "adapter_config.json").read_text("utf-8"))
    ranks = [sum(mask) for mask in recorded["rank_pattern"].values()]
    assert sum(ranks) == 3 * len(ranks) == 3 * 14
    assert recorded["total_step"] == STEPS


def test_new_blocks_start_as_identity_and_only_they_are_trained(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    before = logits(model)
    expand(model, 2)
    assert model.config.num_hidden_layers == len(model.model.layers) == 4
    assert torch.allclose(logits(model), before, atol=1e-5)  # adding zeros is exact
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name.split(".")[2] for name in trained} == {"1", "3"}
    with pytest.raises(ConfigError, match="does not divide 4 layers"):
        expand(model, 3)


def test_galore_projects_and_projects_back_within_the_subspace() -> None:
    torch.manual_seed(0)
    for shape in ((6, 10), (10, 6), (8, 8)):
        gradient = torch.randn(shape[0], 2) @ torch.randn(2, shape[1])  # rank 2
        basis = leading_directions(gradient, 2)
        back = project_back(project(gradient, basis), basis)
        assert torch.allclose(back, gradient, atol=1e-4)  # the SVD is float32
