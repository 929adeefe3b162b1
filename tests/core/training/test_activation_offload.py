"""Activations that wait in main memory: which ones move, in which order, and exact gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attention_models import tiny_model
from transformers import AutoModelForCausalLM

from swiftbox.core.losses.cross_entropy import next_token_losses, with_targets
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.training import activation_offload
from swiftbox.core.training.activation_checkpoints import checkpoint_activations
from swiftbox.core.training.activation_offload import (
    MOST_QUEUED,
    Offload,
    StreamCopies,
    Weights,
    offloading,
    weight_shapes,
)


class Clones:
    """Copies within main memory, which a test on a CPU can make."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.fetched: list[tuple[int, ...]] = []

    def store(self, tensor: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(tensor.shape))
        return tensor.clone()

    def fetch(self, stored: torch.Tensor) -> torch.Tensor:
        self.fetched.append(tuple(stored.shape))
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
    offload = Offload(copies, Weights(model), smallest_bytes=64)
    offloaded = gradients(model, offload)
    assert all(torch.equal(offloaded[name], gradient) for name, gradient in expected.items())
    assert copies.shapes
    assert not set(copies.shapes) & weight_shapes(model)
    if mode == "true":  # the inputs of the two layers, what is outside them, and the head's
        assert len(copies.shapes) < 20


def test_small_tensors_stay() -> None:
    copies = Clones()
    offload = Offload(copies, Weights(torch.nn.Module()))
    small, large = torch.ones(1000), torch.ones(2**18)
    assert offload.pack(small) is small
    assert torch.equal(offload.unpack(offload.pack(large)), large)
    assert copies.shapes == [(2**18,)]


class FakeDevice:
    """The functions of torch.cuda that copies use; records the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.compute = FakeStream(self, "compute")
        self.events = 0
        self.reached: list[str] = []

    def Event(self) -> FakeEvent:
        self.events += 1
        return FakeEvent(self, self.events)

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


class FakeEvent:
    def __init__(self, device: FakeDevice, number: int) -> None:
        self.device, self.number = device, number

    def record(self, stream: FakeStream) -> None:
        self.stream = stream

    def synchronize(self) -> None:
        self.device.reached.append(f"{self.stream.name} {self.number}")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setattr(torch, "get_device_module", lambda _device: device)
    plain = torch.empty_like
    monkeypatch.setattr(
        activation_offload.torch, "empty_like", lambda tensor, **_: plain(tensor, device="cpu")
    )
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda _tensor, _stream: None)
    return device


def test_copies_wait_for_the_computation_and_the_computation_for_them(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_the_processor_waits_for_copies_that_are_many_behind(device: FakeDevice) -> None:
    copies = StreamCopies(torch.device("cpu"))
    stored = [copies.store(torch.ones(2)) for _ in range(MOST_QUEUED + 2)]
    assert device.reached == ["copies 1", "copies 2"]
    for value in stored:
        copies.fetch(value)
    assert device.reached[2:] == [f"compute {MOST_QUEUED + 3}", f"compute {MOST_QUEUED + 4}"]


class Experts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = torch.nn.Parameter(torch.randn(3, 16, 24))
        self.down = torch.nn.Parameter(torch.randn(3, 16, 24))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        each = sum((rows @ self.up[expert]) @ self.down[expert].t() for expert in range(3))
        return each + (rows.expand(3, *rows.shape) @ self.down @ self.up.transpose(1, 2)).sum(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_of_an_expert_moves(dtype: torch.dtype) -> None:
    experts, copies = Experts(), Clones()
    offload = Offload(copies, Weights(experts), smallest_bytes=64)

    def loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            return model(batch["rows"]).sum()

    rows = torch.randn(5, 16, requires_grad=True)
    loss(experts, {"rows": rows}).backward()
    expected, rows.grad = rows.grad, None
    offloading(loss, offload)(experts, {"rows": rows}).backward()
    assert torch.equal(rows.grad, expected)
    assert copies.shapes
    assert all(5 in shape for shape in copies.shapes)  # the rows are in all of them


def test_weights_stay_that_were_moved_after_the_offload_was_made() -> None:
    layer, copies = torch.nn.Linear(16, 24, bias=False), Clones()
    offload = Offload(copies, Weights(layer), smallest_bytes=64)
    layer.double()
    rows = torch.ones(24, dtype=torch.double, requires_grad=True)

    def loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
        return (batch["rows"] * model.weight[:, 0]).sum()

    offloading(loss, offload)(layer, {"rows": rows}).backward()
    assert copies.shapes == [(24,)]  # the rows, and not the column of the weight
    assert torch.equal(rows.grad, layer.weight[:, 0])


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_the_experts_of_a_model_stay(implementation: str) -> None:
    model = tiny_model("qwen3_moe", torch.float32).train()
    model.set_experts_implementation(implementation)
    expected, copies = gradients(model, None), Clones()
    offload = Offload(copies, Weights(model), smallest_bytes=64)
    offloaded = gradients(model, offload)
    for name, gradient in expected.items():
        # Slices come back without their gaps, for which a kernel may round otherwise.
        assert (offloaded[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max()
    experts = model.model.layers[0].mlp.experts
    stacked = {tuple(weight.shape[-2:]) for weight in experts.parameters()}
    assert copies.shapes
    assert not {shape[-2:] for shape in copies.shapes} & (
        stacked | {form[::-1] for form in stacked}
    )


def test_what_several_operations_save_is_copied_once_each_way() -> None:
    copies = Clones()
    offload = Offload(copies, Weights(torch.nn.Module()), smallest_bytes=64)
    matrices = [torch.randn(16, 16, requires_grad=True) for _ in range(3)]

    def loss(_model: Any, batch: dict[str, Any]) -> torch.Tensor:
        hidden = batch["rows"] * 2
        return sum((hidden @ matrix).sum() for matrix in matrices)

    rows = torch.randn(40, 16)
    offloading(loss, offload)(None, {"rows": rows}).backward()
    assert copies.shapes.count((40, 16)) == 1
    assert copies.fetched.count((40, 16)) == 1
    assert all(torch.equal(matrix.grad, matrices[0].grad) for matrix in matrices)
    assert not offload._stored


def test_a_tensor_that_was_changed_in_place_or_follows_at_its_address_is_copied() -> None:
    offload = Offload(Clones(), Weights(torch.nn.Module()))
    tensor = torch.ones(2**18)
    first = offload.pack(tensor)
    second = offload.pack(tensor.mul_(2))
    address = tensor.data_ptr()
    del tensor
    following = torch.full((2**18,), 3.0)
    packed = [first, second, offload.pack(following)]
    assert [offload.unpack(each)[0].item() for each in packed] == [1, 2, 3], address
