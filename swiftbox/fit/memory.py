"""Peak memory of one device in training, term by term.

Letters: P parameters, T tokens of a micro-batch, H hidden size, I MLP width, V vocabulary. What a
layer saves for its backward pass is counted operation by operation as in Korthikanti et al.
(arXiv:2205.05198, section 4), for today's blocks (gated MLP, RMSNorm, fused attention) and for
frozen weights, whose products save no input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from swiftbox.fit.shape import ModelShape

Checkpointing = Literal["none", "selective", "full"]

BYTES_PER_WEIGHT: Mapping[str, float] = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "int8": 1.02,
    "nf4": 0.5625,
    "nf4-dq": 0.5161,
    "int4": 0.5625,
}
"""By storage, with the scales: NF4 keeps 4 bytes for each 64 weights (arXiv:2305.14314, section 3),
doubly quantized 0.127 bits per weight; GPTQ and AWQ keep 16 + 16 bits for each 128 and 4 bits a
group of zeros; 8 bits one float per row."""

QUANTIZED = ("nf4", "nf4-dq", "int8", "int4")

OPTIMIZER_BYTES: Mapping[str, float] = {
    "adamw": 8.0,
    "adamw_8bit": 2.06,
    "adamw_4bit": 1.1,
    "adafactor": 0.1,
    "sgd": 0.0,
}
"""State per trained weight: two moments of 4 bytes, or 1 byte each and a scale per 256."""

FRAGMENTED = 0.3
"""Memory that the allocator reserves beyond the tensors, as a share of a step's temporary memory;
measured as the difference of reserved and allocated peaks (0.1 to 0.5)."""

OFFLOADED_LAYERS = 2
"""Layers whose activations are on the device while those of the others are in the host's memory."""

BACKWARD_TENSORS = 3
"""Gradients of MLP width alive at once in a layer's backward pass: product, gate and up."""


@dataclass(frozen=True)
class Recipe:
    """What determines the memory of a training; `tokens` are those of one forward pass."""

    tokens: int
    length: int
    weights: str = "bfloat16"
    """Storage of the base model: a key of BYTES_PER_WEIGHT."""
    experts: str | None = None
    """Storage of experts if another: bitsandbytes quantizes linear layers, and transformers keeps
    the experts of a layer in one tensor each of three dimensions."""
    outside: str = "bfloat16"
    """Storage of embeddings and head; float32 if a quantized base is prepared for LoRA."""
    trained: float = 0.0
    """Number of trained parameters."""
    is_adapter: bool = True
    """Whether the trained weights are an adapter on a frozen base, or part of the base."""
    master_bytes: float = 4.0
    """Bytes of a trained weight."""
    gradient_bytes: float = 4.0
    has_buckets: bool = False
    """Whether processes exchange gradients in buckets, which hold a second copy of all of them."""
    state_bytes: float = 8.0
    paged_bytes: float = 0.0
    """Those of them that may leave the device, as in paged optimizers."""
    update_bytes: float = 0.0
    """Temporary bytes of the update per trained weight, if it is not fused."""
    cast_bytes: float = 0.0
    """Bytes of autocast's copies per trained weight."""
    compute_bytes: int = 2
    stream_bytes: int = 2
    """Bytes per value of the residual stream."""
    checkpointing: Checkpointing = "full"
    """What is recomputed: full, selective (MLP and elementwise work) or none."""
    offloads: bool = False
    """Whether activations wait in the host's memory."""
    attention: str = "fused"
    """fused (flash or memory-efficient) or eager."""
    mask_entries: float = 0.0
    """Entries of a dense attention mask, which fused attention keeps in its own number type."""
    logit_bytes: float | None = None
    """Bytes per token and vocabulary entry if all logits are kept; None: computed in chunks."""
    chunk_bytes: float = 2.0**28
    adapted: int = 0
    """Input values that adapters copy, per token and layer."""
    copies: float = 0.0
    """Additional copies of the base model, such as a reference model."""
    teacher_bytes: float = 0.0
    """Weights of another model that is kept beside it."""
    apart_bytes: float = 0.0
    """Temporary bytes of passes that end before the trained model's begins: of a teacher, and of
    generated answers."""
    shards: Mapping[str, int] = field(default_factory=dict)
    """The number of devices over which weights, gradients and states are sharded."""
    extra_bytes: float = 0.0
    accumulates: bool = True
    """Whether gradients persist between passes."""


@dataclass(frozen=True)
class Memory:
    """Bytes by term; `peak` is the maximum during a step as the allocator counts it."""

    weights: float
    trained: float
    gradients: float
    states: float
    activations: float
    work: float
    logits: float
    update: float
    reference: float
    fragmented: float = 0.0
    framework: float = 0.0
    accumulates: bool = True
    buckets: float = 0.0
    """Of gradients that are exchanged; kept from one update to the next."""
    teacher: float = 0.0
    """The weights of a teacher."""
    apart: float = 0.0
    """Of passes that end before the trained model's forward pass begins."""

    @property
    def standing(self) -> float:
        """Return the memory that is in use all the time."""
        gradients = self.gradients + self.buckets
        frozen = self.reference + self.teacher
        return self.weights + self.trained + gradients + self.states + frozen

    @property
    def forward(self) -> float:
        """Return the temporary memory of the passes before gradients replace activations."""
        return max(self.activations + max(self.work, self.logits), self.apart)

    @property
    def allocated(self) -> float:
        """Return the peak memory of tensors."""
        if self.accumulates:
            return self.standing + max(self.forward, self.update)
        # Gradients replace activations as these are freed; they are dropped before the next pass.
        late = self.gradients + max(self.work, self.update)
        return self.standing - self.gradients + max(self.forward, late)

    @property
    def peak(self) -> float:
        """Return the memory that the device needs."""
        return self.allocated + self.fragmented + self.framework


def training_memory(shape: ModelShape, recipe: Recipe, *, framework: float = 0.0) -> Memory:
    """Return the memory of a training step on one device."""
    shards = {key: max(1, recipe.shards.get(key, 1)) for key in ("weights", "gradients", "states")}
    base_bytes, trained = stored(shape, recipe), recipe.trained
    if not recipe.is_adapter:
        base_bytes = max(0.0, base_bytes * (1 - min(1.0, trained / shape.params)))
    activations, work = _activations_and_work(shape, recipe, is_sharded=shards["weights"] > 1)
    master = trained * (recipe.master_bytes + recipe.cast_bytes)
    memory = Memory(
        weights=base_bytes / shards["weights"] + recipe.extra_bytes,
        trained=master / shards["weights"],
        gradients=trained * recipe.gradient_bytes / shards["gradients"],
        states=(trained * recipe.state_bytes - paged_states(recipe)) / shards["states"],
        activations=activations,
        work=work,
        logits=logits_bytes(shape, recipe),
        update=trained * recipe.update_bytes / shards["states"] + _paged_in(shape, recipe),
        reference=recipe.copies * stored(shape, recipe) / shards["weights"],
        framework=framework,
        accumulates=recipe.accumulates,
        buckets=trained * recipe.gradient_bytes if recipe.has_buckets else 0.0,
        teacher=recipe.teacher_bytes,
        apart=recipe.apart_bytes,
    )
    temporary = max(memory.forward, memory.update)
    return replace(memory, fragmented=FRAGMENTED * temporary)


def _activations_and_work(
    shape: ModelShape, recipe: Recipe, *, is_sharded: bool
) -> tuple[float, float]:
    """Return the activations saved for the backward pass, and the temporary bytes of a layer."""
    mask: float = recipe.mask_entries * recipe.compute_bytes
    layer: float = saved_by_layer(shape, recipe) * recipe.tokens + mask
    stream: float = shape.hidden * recipe.stream_bytes * recipe.tokens
    work: float = BACKWARD_TENSORS * shape.layer_width * recipe.compute_bytes * recipe.tokens
    work += 2 * stream
    if is_sharded:  # a layer's weights are gathered while those of the next one are prefetched
        work += 2 * shape.inside / shape.layers * max(recipe.compute_bytes, 2)
    if recipe.weights in QUANTIZED:  # a matrix is dequantized when it is used
        work += max(shape.intermediate, shape.query_width) * shape.hidden * recipe.compute_bytes
    saved = saved_activations(shape, recipe)
    return saved, work if recipe.checkpointing == "none" else work + layer


def saved_activations(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes on the device that are saved for the backward pass."""
    mask = 0.0 if recipe.checkpointing == "full" else recipe.mask_entries * recipe.compute_bytes
    each = saved_per_token(shape, recipe) * recipe.tokens + mask
    if not recipe.offloads:
        return shape.layers * each
    waiting = waiting_per_token(shape, recipe) * recipe.tokens
    waiting += mask if recipe.checkpointing == "none" else 0.0
    return shape.layers * (each - waiting) + OFFLOADED_LAYERS * waiting


def saved_per_token(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes that a layer keeps per token until its backward pass, without the mask."""
    if recipe.checkpointing == "none":
        return saved_by_layer(shape, recipe)
    if recipe.checkpointing == "selective":
        return kept_by_selection(shape, recipe)
    return float(shape.hidden * recipe.stream_bytes)


def waiting_per_token(shape: ModelShape, recipe: Recipe) -> float:
    """Return those of them that offloading moves to main memory.

    Selective recomputation keeps its products on the device; only a layer's input is moved.
    """
    if recipe.checkpointing == "selective":
        return float(shape.hidden * recipe.stream_bytes)
    return saved_per_token(shape, recipe)


def paged_states(recipe: Recipe) -> float:
    """Return the bytes of optimizer states that wait in main memory if the device is full."""
    return recipe.trained * recipe.paged_bytes


def _paged_in(shape: ModelShape, recipe: Recipe) -> float:
    """Return the states of the largest weight, which are on the device while it is updated."""
    return shape.table * recipe.paged_bytes


def stored(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes of the base's weights."""
    in_experts = shape.in_experts * BYTES_PER_WEIGHT[recipe.experts or recipe.weights]
    inside = (shape.inside - shape.in_experts) * BYTES_PER_WEIGHT[recipe.weights] + in_experts
    return inside + shape.outside * BYTES_PER_WEIGHT[recipe.outside]


def saved_by_layer(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes that a layer saves per token for its backward pass."""
    size = recipe.compute_bytes
    norms = 2 * shape.hidden * (4 if size == 2 else size)
    attention = (4 * shape.query_width) * size  # queries, repeated keys and values, result
    mlp = (3 if shape.gated else 2) * shape.layer_width * size
    inputs = recipe.adapted * size
    if not recipe.is_adapter:  # each product saves its input for the gradient of its weight
        copies = (
            4 if size == 4 else 6
        )  # autocast copies the input of each product; norms save theirs
        inputs = (copies * shape.hidden + shape.query_width) * size
        inputs += shape.layer_width * size
    eager = 0.0
    if recipe.attention == "eager":  # scores: float32 softmax and its copy in the compute type
        eager = shape.heads * recipe.length * (4 + 2 * size)
    return norms + attention + mlp + inputs + eager


def kept_by_selection(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes that a layer keeps per token under selective checkpointing.

    Its input, and the results of products that are not wider than their input, and of attention.
    """
    widths = 3 * shape.hidden + 2 * shape.query_width + 2 * shape.key_width
    return float(widths * recipe.compute_bytes)


def logits_bytes(shape: ModelShape, recipe: Recipe) -> float:
    """Return the peak bytes of the head's logits."""
    if recipe.logit_bytes is not None:
        return recipe.tokens * shape.vocab * recipe.logit_bytes
    chunk = min(recipe.chunk_bytes, recipe.tokens * shape.vocab * 4.0)
    slopes = recipe.tokens * shape.hidden * recipe.compute_bytes
    cast = recipe.compute_bytes if recipe.compute_bytes != 4 else 0
    head = 0.0 if recipe.is_adapter else shape.table * (4 + cast)
    # Two chunks of float32, or 16-bit logits, float32 probabilities and their 16-bit gradient.
    return chunk * 2 + slopes + head
