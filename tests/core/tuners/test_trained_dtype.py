"""What is trained is float32 on a base of 16 bits; what is frozen keeps the base's type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.cross_entropy import next_token_losses, with_targets
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.reward_head import rewards
from swiftbox.core.training.activation_checkpoints import checkpoint_activations
from swiftbox.core.tuners.attach import AdapterStart, attach
from swiftbox.core.weights.load import load_trainable

pytestmark = pytest.mark.filterwarnings("ignore")

TUNERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "tables": {"modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    "ia3": {"tuner_type": "ia3"},
    "vera": {"tuner_type": "vera", "vera_rank": 16},
    "oft": {"tuner_type": "oft"},
    "qlora": {"tuner_type": "qlora"},
}
IDS = torch.arange(24)[None] + 9
POSITIONS = torch.arange(24)[None]


def settings(model: Path, **keys: Any) -> TrainConfig:
    values = {"dtype": "bfloat16", "attn_implementation": "sdpa", **keys}
    return TrainConfig(model=str(model), dataset="d", **values)


def network_of(model: Path, *, adapter: Path | None = None, head: str = "language", **keys: Any):
    config = settings(model, **keys)
    task = "SEQ_CLS" if head == "score" else "CAUSAL_LM"
    model_to_train = load_trainable(model, config, head=head)
    return attach(model_to_train, config, AdapterStart(adapter=adapter, task_type=task)).train()


def loss_of(network: Any, dtype: torch.dtype) -> torch.Tensor:
    batch = {"input_ids": IDS, "position_ids": POSITIONS, "labels": IDS.clone()}
    reader = reader_for(network, dtype)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return next_token_losses(network, with_targets(batch), reader).mean()


def trained(network: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("name", TUNERS)
def test_every_trained_weight_is_float32_and_no_frozen_one(name: str, tiny: Path) -> None:
    network = network_of(tiny, **TUNERS[name])
    assert {weight.dtype for weight in trained(network).values()} == {torch.float32}
    frozen = [weight for weight in network.parameters() if not weight.requires_grad]
    assert torch.float32 not in {weight.dtype for weight in frozen}
    loss_of(network, torch.bfloat16).backward()
    assert any(weight.grad.abs().sum() > 0 for weight in trained(network).values())


@pytest.mark.parametrize("name", TUNERS)
def test_a_network_of_mixed_types_also_computes_without_autocast(name: str, tiny: Path) -> None:
    network = network_of(tiny, **TUNERS[name]).eval()
    streams = []
    for block in network.get_base_model().model.layers:
        block.register_forward_hook(lambda _block, _inputs, output: streams.append(output.dtype))
    with torch.no_grad():
        logits = network(input_ids=IDS, use_cache=False).logits
    assert torch.isfinite(logits.float()).all()
    assert set(streams) == {torch.bfloat16}


@pytest.mark.parametrize("head", ["language", "score"])
def test_float16_gradients_can_be_unscaled(head: str, tiny: Path) -> None:
    keys = {"modules_to_save": ["embed_tokens"]} if head == "language" else {}
    network = network_of(tiny, head=head, dtype="float16", **keys)
    optimizer = torch.optim.SGD(trained(network).values(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    if head == "language":
        loss = loss_of(network, torch.float16)
    else:
        with torch.autocast("cpu", torch.float16):
            loss = rewards(network, {"input_ids": IDS}, torch.tensor([23])).sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)  # raises for gradients of 16 bits


def test_small_updates_of_a_reward_head_are_not_lost(tiny: Path) -> None:
    network = network_of(tiny, head="score")
    weight = next(weight for name, weight in trained(network).items() if "score" in name)
    start = weight.detach().fill_(1.0).clone()
    optimizer = torch.optim.AdamW([weight], lr=1e-4, weight_decay=0.0)
    for _ in range(5):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    # Five steps of 1e-4 each, rounded to float32; below the 2**-9 that bfloat16 keeps of 1.
    assert torch.allclose(start - weight, torch.full_like(start, 5e-4), atol=1e-6)


def test_a_continued_adapter_starts_from_the_saved_tables_and_not_from_rounded_ones(
    tiny: Path, tmp_path: Path
) -> None:
    first = network_of(tiny, modules_to_save=["embed_tokens"])
    for name, weight in trained(first).items():
        if "embed_tokens" in name:
            weight.data += 1e-4 * torch.rand_like(weight)
    first.save_pretrained(tmp_path)
    second = trained(network_of(tiny, adapter=tmp_path))
    assert second.keys() == trained(first).keys()
    assert all(torch.equal(second[name], weight) for name, weight in trained(first).items())


def test_a_quantized_base_keeps_its_tables_in_two_bytes(tiny: Path) -> None:
    model = network_of(tiny, tuner_type="qlora").get_base_model()
    for table in (model.get_input_embeddings(), model.get_output_embeddings(), model.model.norm):
        assert table.weight.element_size() == 2


@pytest.mark.parametrize("name", ["lora", "qlora", "tables"])
def test_gradients_reach_the_adapter_through_checkpoints(name: str, tiny: Path) -> None:
    network = network_of(tiny, **TUNERS[name])
    loss_of(network, torch.bfloat16).backward()
    expected = {key: weight.grad.clone() for key, weight in trained(network).items()}
    for mode in ("true", "selective"):
        network.zero_grad()
        checkpoint_activations(network, mode)
        loss_of(network, torch.bfloat16).backward()
        for key, weight in trained(network).items():
            assert torch.equal(weight.grad, expected[key]), (mode, key)
