"""A step waits for its device at most once: to read the tokens of all sequences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from submitting import prompts
from torch.overrides import TorchFunctionMode

from swiftbox.core.generation.batch import DecodeBatch, GeneratedSequence, Prefill, PrefillEntry
from swiftbox.core.generation.device_access import HostCopy
from swiftbox.core.generation.host_reads import HostReads
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.sampling import Sampling, TokenSampler
from swiftbox.core.generation.slot_cache import CacheSpace, SlotCache
from swiftbox.core.generation.step_graphs import StepGraphs
from swiftbox.core.generation.transcript import Transcript

WAITING = ("cpu", "tolist", "__array__")
"""Methods of a tensor that wait for its device, but show in no operation on a CPU."""

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "free": {"temperature": 0.9},
    "min_p": {"temperature": 0.9, "min_p": 0.02},
    "top_k": {"temperature": 0.9, "top_k": 20, "top_p": 0.8},
    "penalties": {"temperature": 0.0, "repetition_penalty": 1.2, "frequency_penalty": 0.5},
    "logprobs": {"temperature": 0.0, "logprobs": 3},
}


class Waits(TorchFunctionMode):
    """Counts calls that wait for the device, upload to it, or return what some devices lack."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        self.calls["wait"] += name in WAITING
        self.calls["upload"] += name in ("tensor", "as_tensor", "from_numpy")
        result = func(*args, **(kwargs or {}))
        self.calls["float64"] += getattr(result, "dtype", None) == torch.float64
        return result


@pytest.fixture(scope="module")
def network(tiny: Path) -> Network:
    return Network(LoadSettings(tiny, "float32", "cpu"))


def decoding(
    network: Network, samplings: list[Sampling], *, static: bool, overlap: bool = False
) -> DecodeBatch:
    """Return a batch of one sequence for each sampling, with its first tokens."""
    cache: Any = BatchCache(network.layers)
    if static:
        space = CacheSpace(8, 256, 8 * 256, 8 * 256)
        cache = SlotCache(network.layers, space, StepGraphs(None, pytest.fail))
    entries = []
    for prompt, sampling in zip(prompts(network, len(samplings)), samplings, strict=True):
        transcript = Transcript(network.tokenizers[BASE], ())
        sampler = TokenSampler(sampling, prompt, 0)
        row = GeneratedSequence(None, 0, prompt, sampler, transcript)
        entries.append(PrefillEntry(prompt, [row], BASE))
    prefill = Prefill.of(entries, network.layers, network.model.device)
    batch = DecodeBatch(BASE, cache, overlap=overlap)
    logits = prefill.step(network.model, prefill.length)
    assert logits is not None
    batch.join(prefill, logits)
    return batch


@pytest.mark.parametrize("static", [False, True], ids=["growing", "slots"])
@pytest.mark.parametrize("kind", [*SETTINGS, "mixed"])
@torch.inference_mode()
def test_a_step_waits_once(network: Network, kind: str, *, static: bool) -> None:
    chosen = list(SETTINGS.values()) if kind == "mixed" else [SETTINGS[kind]] * 3
    samplings = [Sampling(max_tokens=100, seed=1, **each) for each in chosen]
    batch = decoding(network, samplings, static=static)
    batch.step(lambda: network.model)
    with Waits() as waits, HostReads() as reads:
        for _ in range(4):
            batch.step(lambda: network.model)
    assert waits.calls["float64"] == 0  # MPS has no such numbers
    if static:
        assert (waits.calls["wait"], reads.count, waits.calls["upload"]) == (4, 0, 0)
    else:  # transformers looks once whether a mask of two dimensions hides anything
        assert (waits.calls["wait"], reads.count) == (4, 4)


@torch.inference_mode()
def test_with_overlap_a_step_is_launched_before_the_last_one_is_read(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    forward, read = SlotCache.forward, HostCopy.read
    batch = decoding(network, [Sampling(max_tokens=5, seed=1)] * 2, static=True, overlap=True)

    def logged_forward(*args: Any) -> torch.Tensor:
        order.append("launch")
        return forward(*args)

    def logged_read(copy: HostCopy) -> torch.Tensor:
        order.append("read")
        return read(copy)

    monkeypatch.setattr(SlotCache, "forward", logged_forward)
    monkeypatch.setattr(HostCopy, "read", logged_read)
    tokens = []
    for _ in range(4):
        tokens += [sampled.token for _, sampled in batch.step(lambda: network.model)]
    assert order == ["launch", *["launch", "read"] * 3, "read"]  # the fifth token is the last
    plain = decoding(network, [Sampling(max_tokens=5, seed=1)] * 2, static=False)
    steps = [plain.step(lambda: network.model) for _ in range(4)]
    assert tokens == [sampled.token for step in steps for _, sampled in step]


def test_reads_within_a_function_of_torch_are_counted() -> None:
    values = torch.tensor([1.0, 0.0])
    with HostReads() as reads:
        values.nonzero()
        assert values[values > 0].shape == (1,)
        assert bool(values.sum() == 1)
        values.double()
    assert reads.count == 3
