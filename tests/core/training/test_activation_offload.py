"""Activations that wait in main memory: which ones move, in which order, and exact gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from swiftbox.core.losses.cross_entropy import next_token_losses, with_targets
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.training import activation_offload
from swiftbox.core.training.activation_checkpoints import checkpoint_activations
from swiftbox.core.training.activation_offload import (
    Offload,
    StreamCopies,
    offloading,
    weight_shapes,
)


class Clones:
    """Copies within main memory, which a test on a CPU can make."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def store(self, tensor: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(tensor.shape))
        return tensor.clone()

    def fetch(self, stored: torch.Tensor) -> torch.Tensor:
        return stored.clone()


def gradients(model: Any, offload: Offload | None) -> dict[str, torch.Tensor]:
    ids = torch.arange(40)[None] + 9
    batch = {"input_ids": ids, "position_ids": torch.arange(40)[None], "labels": ids.clone()}
    reader = reader_for(model)

    def loss(network: Any, inputs: dict[str, Any]) -> torch.Tensor:
        return next_token_losses(network, with_targets(inputs), reader).sum()

    model.zero_grad()
    compute = loss if offload is None else offloading(loss, offload)
    compute(model, batch).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("mode", ["false", "true", "selective"])
def test_gradients_are_the_same_and_no_weight_moves(mode: str, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny).train()
    expected = gradients(model, None)
    checkpoint_activations(model, mode)
    copies = Clones()
    offload = Offload(copies, weight_shapes(model), smallest_bytes=64)
    offloaded = gradients(model, offload)
    assert all(torch.equal(offloaded[name], gradient) for name, gradient in expected.items())
    assert copies.shapes
    assert not set(copies.shapes) & weight_shapes(model)
    if mode == "true":  # the inputs of the two layers, what is outside them, and the head's
        assert len(copies.shapes) < 20


def test_small_tensors_stay() -> None:
    copies = Clones()
    offload = Offload(copies, frozenset())
    small, large = torch.ones(1000), torch.ones(2**18)
    assert offload.pack(small) is small
    assert torch.equal(offload.unpack(offload.pack(large)), large)
    assert copies.shapes == [(2**18,)]


class FakeDevice:
    """The functions of torch.cuda that copies use; records the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.compute = FakeStream(self, "compute")

    def Stream(self, _device: Any) -> FakeStream:
        return FakeStream(self, "copies")

    def current_stream(self, _device: Any) -> FakeStream:
        return self.compute

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        self.calls.append(f"on {stream.name}")
        yield


class FakeStream:
    def __init__(self, device: FakeDevice, name: str) -> None:
        self.device, self.name = device, name

    def wait_stream(self, other: FakeStream) -> None:
        self.device.calls.append(f"{self.name} waits for {other.name}")


def test_copies_wait_for_the_computation_and_the_computation_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = FakeDevice()
    monkeypatch.setattr(torch, "get_device_module", lambda _device: device)
    plain = torch.empty_like
    monkeypatch.setattr(
        activation_offload.torch, "empty_like", lambda tensor, **_: plain(tensor, device="cpu")
    )
    recorded: list[str] = []
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda _tensor, stream: recorded.append(stream.name)
    )
    copies = StreamCopies(torch.device("cpu"))
    tensor = torch.arange(6.0)
    assert torch.equal(copies.fetch(copies.store(tensor)), tensor)
    assert device.calls == [
        "copies waits for compute",
        "on copies",
        "on copies",
        "compute waits for copies",
    ]
    assert recorded == ["copies", "compute"]
