"""The time of an update, from the work of its micro-batches: what compares settings, not a clock.

Letters: T tokens of a micro-batch with its padding, W its line length, L layers, H hidden size,
V vocabulary. A product of T rows runs at rate x T / (T + half): few rows leave cores idle or wait
for the weights. An operator has a fixed cost on the host; an accelerator hides it behind work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from swiftbox.devices.accelerators import find_accelerator
from swiftbox.devices.machine import Machine
from swiftbox.fit.memory import QUANTIZED, Recipe, saved_by_layer, waiting_per_token
from swiftbox.fit.micro_batch import BatchShape
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.speed import CPU_FLOPS_PER_CORE, UTILIZATION

RECOMPUTED = 4 / 3
"""Published shares of the rated speed count no recomputation, which most of those runs did."""

LEARNED_SHARE = 0.6
"""Share of the tokens that the head computes: answers, not prompts."""

OPERATORS, ADAPTER_OPERATORS, LINEARS = 45, 5, 7
"""Operators of a layer's forward pass, those that an adapter adds to a product, and products."""

BACKWARD_OPERATORS = 0.8
"""Host time of the backward pass, which runs without Python, relative to the forward pass."""

DEQUANTIZED_BYTES = 4.5
"""Traffic of a 4-bit weight for each use: 0.5 read, 2 written, 2 read by the product."""

TRAFFIC = 2.0
"""Bytes that elementwise work moves forward, relative to what a layer saves; backward: double."""

ATTENTION_BACKWARD = 2.5
"""Work of attention's backward pass relative to the forward pass: it computes the scores again."""

SCORE_BYTES = 15.0
"""Traffic of an attention score that lies in memory, forward: product, mask, softmax, copies."""


@dataclass(frozen=True)
class DeviceModel:
    """How fast a device works; all rates per second."""

    products: float
    """Floating-point operations of large matrix products."""
    half_tokens: float
    """Tokens of a micro-batch at which products reach half of that."""
    operator_s: float
    """Host time of an operator."""
    pass_s: float
    """Fixed time of a micro-batch: collating it, the loop around it."""
    bandwidth: float
    """Bytes to and from the memory."""
    dequantized: float
    """Weights of 4 bits that become numbers."""
    cache_bytes: float = 0.0
    """Layer results that stay in a cache; 0: the rate of products includes elementwise work."""
    cached_bandwidth: float = 0.0
    attention: float = 0.6
    """Rate of fused attention relative to products, and with a dense mask."""
    masked_attention: float = 0.3
    link: float = 2.0e10
    """Bytes to and from the host's memory."""
    hides_host: bool = True
    """Whether the host runs ahead of the device."""


@dataclass(frozen=True)
class UpdateWork:
    """What an update computes besides the shape of its micro-batches."""

    passes: int
    compares: bool
    """Whether a reference policy computes each micro-batch too."""
    trained: float
    is_full: bool


def device_model(machine: Machine, hidden: int, kind: str) -> DeviceModel:
    """Return how fast the first device works, or the CPU; `kind` as in speed.UTILIZATION."""
    if not machine.devices:
        cores = max(1, machine.cores)
        return DeviceModel(
            products=CPU_PRODUCTS * cores,
            half_tokens=CPU_HALF_TOKENS,
            operator_s=CPU_OPERATOR_S,
            pass_s=CPU_PASS_S,
            bandwidth=CPU_BANDWIDTH * cores,
            dequantized=CPU_DEQUANTIZED * cores,
            cache_bytes=CPU_CACHE_BYTES * cores,
            cached_bandwidth=CPU_CACHED_BANDWIDTH * cores,
            attention=CPU_ATTENTION,
            masked_attention=CPU_MASKED_ATTENTION,
            hides_host=False,
        )
    device = machine.devices[0]
    row = find_accelerator(device.name, device.memory_bytes)
    flops = row.flops if row is not None and row.flops else 1.0e14
    bandwidth = row.bandwidth if row is not None and row.bandwidth else flops / 300
    return DeviceModel(
        products=flops * UTILIZATION[kind] * RECOMPUTED,
        half_tokens=256 + flops / 1.0e15 * 1.0e6 / hidden,
        operator_s=8.0e-6,
        pass_s=2.0e-3,
        bandwidth=bandwidth,
        dequantized=bandwidth / DEQUANTIZED_BYTES,
    )


# Of a core, fitted to 242 updates of six trainings of 4 to 16 million parameters (LoRA, QLoRA,
# full, DPO and a reward model; rows of 80 to 1,024 tokens) by their ratios, before attention on a
# CPU went row by row.
CPU_PRODUCTS = 2 * CPU_FLOPS_PER_CORE
CPU_HALF_TOKENS = 5.0
CPU_OPERATOR_S = 5.0e-5
CPU_PASS_S = 2.0e-3
CPU_BANDWIDTH = 6.0e9
CPU_CACHE_BYTES = 1.1e6
CPU_CACHED_BANDWIDTH = 1.0e11
CPU_DEQUANTIZED = 3.5e8
CPU_ATTENTION, CPU_MASKED_ATTENTION = 0.45, 0.95


def update_seconds(
    shape: ModelShape, recipe: Recipe, batch: BatchShape, work: UpdateWork, device: DeviceModel
) -> float:
    """Return the seconds of an update."""
    forward, backward, again = _shares(shape, recipe, work)
    products = 2 * shape.inside_passed * batch.tokens / _rate(device, batch)
    seconds = products * (forward + backward + again)
    attention = _attention(shape, recipe, batch, device)
    repeats = 1.0 if recipe.checkpointing == "full" else 0.0
    seconds += attention * (forward + ATTENTION_BACKWARD + repeats)
    seconds += _elementwise(shape, recipe, batch, device) * (forward + 2.0 + again)
    seconds += _head(shape, batch, work, device)
    host = device.operator_s * _operators(recipe) * shape.layers
    host *= forward + BACKWARD_OPERATORS + (recipe.checkpointing != "none")
    seconds += _dequantization(shape, recipe, device) * (forward + 1 + repeats)
    if recipe.offloads:
        copied = 2 * waiting_per_token(shape, recipe) * shape.layers * batch.tokens
        seconds = max(seconds, copied / device.link)
    each = max(seconds, host) if device.hides_host else seconds + host
    optimizer = work.trained * (16 + recipe.state_bytes) / device.bandwidth
    return work.passes * (each + device.pass_s) + optimizer


def _shares(shape: ModelShape, recipe: Recipe, work: UpdateWork) -> tuple[float, float, float]:
    """Return the forward passes, the backward work and the recomputed work, in forward passes."""
    forward = 2.0 if work.compares else 1.0
    backward = 2.0 if work.is_full else 1.0
    if recipe.checkpointing == "full":
        return forward, backward, 1.0
    if recipe.checkpointing == "selective":
        gates = (2 if shape.gated else 1) * shape.hidden * shape.layer_width * shape.layers
        return forward, backward, gates / max(1.0, shape.inside_passed)
    return forward, backward, 0.0


def _rate(device: DeviceModel, batch: BatchShape) -> float:
    return device.products * batch.tokens / (batch.tokens + device.half_tokens)


def _attention(shape: ModelShape, recipe: Recipe, batch: BatchShape, device: DeviceModel) -> float:
    """Return the seconds of a forward pass of attention in all layers."""
    flops = 4.0 * batch.tokens * batch.line * shape.query_width * shape.layers
    if recipe.attention == "eager":
        scores = batch.tokens * batch.line * shape.heads * shape.layers
        bandwidth = _bandwidth(device, scores / shape.layers * 4)
        return flops / device.products + scores * SCORE_BYTES / bandwidth
    if batch.has_mask:
        return flops / (device.products * device.masked_attention)
    return flops / 2 / (device.products * device.attention)


def _elementwise(
    shape: ModelShape, recipe: Recipe, batch: BatchShape, device: DeviceModel
) -> float:
    """Return the seconds of a forward pass of norms, activations and sums."""
    if not device.cache_bytes:
        return 0.0
    width = max(shape.layer_width, shape.query_width) * recipe.compute_bytes
    per_token = TRAFFIC * saved_by_layer(shape, replace(recipe, attention="fused"))
    bandwidth = _bandwidth(device, batch.tokens * width)
    return per_token * shape.layers * batch.tokens / bandwidth


def _bandwidth(device: DeviceModel, result_bytes: float) -> float:
    """Return the rate at which results of this size are read again: of a cache, or the memory."""
    if not device.cache_bytes:
        return device.bandwidth
    outside = result_bytes / (result_bytes + device.cache_bytes)
    return 1 / (outside / device.bandwidth + (1 - outside) / device.cached_bandwidth)


def _head(shape: ModelShape, batch: BatchShape, work: UpdateWork, device: DeviceModel) -> float:
    """Return the seconds of the head: logits of learned tokens, and their gradient."""
    products = (2.0 if work.compares else 1.0) + (2.0 if work.is_full else 1.0)
    tokens = LEARNED_SHARE * batch.tokens
    seconds = 2 * shape.table * tokens * products / _rate(device, batch)
    if device.cache_bytes:
        seconds += tokens * shape.vocab * 4 * 6 / device.bandwidth
    return seconds


def _operators(recipe: Recipe) -> int:
    return OPERATORS + (ADAPTER_OPERATORS * LINEARS if recipe.is_adapter else 0)


def _dequantization(shape: ModelShape, recipe: Recipe, device: DeviceModel) -> float:
    """Return the seconds to turn all quantized weights into numbers once."""
    if recipe.weights not in QUANTIZED:
        return 0.0
    return shape.inside_passed / device.dequantized
