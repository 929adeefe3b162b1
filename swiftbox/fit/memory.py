"""Peak memory of one device in training, term by term.

Letters: P parameters, T tokens of a micro-batch, H hidden size, I MLP width, V vocabulary. What a
layer keeps for its backward pass is counted operation by operation as in Korthikanti et al.
(arXiv:2205.05198, section 4), for today's blocks (gated MLP, RMSNorm, fused attention) and for
frozen weights, whose products keep no input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swiftbox.fit.shape import ModelShape

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

OPTIMIZER_BYTES: Mapping[str, float] = {
    "adamw": 8.0,
    "adamw_8bit": 2.06,
    "adamw_4bit": 1.1,
    "adafactor": 0.1,
    "sgd": 0.0,
}
"""State per trained weight: two moments of 4 bytes, or 1 byte each and a scale per 256."""

FRAGMENTED = 0.3
"""What the allocator keeps beyond what is used, as a share of what comes and goes in a step;
measured between allocated and reserved peaks (0.1 to 0.5)."""

BACKWARD_TENSORS = 3
"""Gradients of MLP width alive at once in a layer's backward pass: product, gate and up."""

PLAIN_LOGITS = 14.0
"""Bytes per logit where all are kept: 16-bit, float32, log-softmax and its gradient."""


@dataclass(frozen=True)
class Recipe:
    """What is trained and how, as far as memory goes; `tokens` is what one pass holds."""

    tokens: int
    length: int
    weights: str = "bfloat16"
    """How the base is stored: a key of BYTES_PER_WEIGHT."""
    outside: str = "bfloat16"
    """How embeddings and head are stored; float32 where a quantized base is prepared for LoRA."""
    trained: float = 0.0
    """Parameters that are trained."""
    beside: bool = True
    """Whether what is trained stands beside a frozen base (an adapter) or is part of it."""
    master_bytes: float = 4.0
    """Bytes of a trained weight."""
    gradient_bytes: float = 4.0
    state_bytes: float = 8.0
    update_bytes: float = 0.0
    """Temporaries of the update per trained weight, where it is not fused."""
    cast_bytes: float = 0.0
    """Copies that autocast keeps of each trained weight."""
    compute_bytes: int = 2
    stream_bytes: int = 2
    """Bytes per number of the stream between layers."""
    checkpointing: bool = True
    attention: str = "fused"
    """fused (flash or memory-efficient) or eager."""
    logit_bytes: float | None = None
    """Bytes per token and vocabulary entry where all logits are kept; None: in chunks of ours."""
    chunk_bytes: float = 2.0**28
    adapted: int = 0
    """Layers' inputs that adapters keep a copy of, in numbers per token and layer."""
    copies: float = 0.0
    """Further whole copies of the base, such as a reference model."""
    shards: Mapping[str, int] = field(default_factory=dict)
    """Over how many devices weights, gradients and states are divided."""
    extra_bytes: float = 0.0
    accumulates: bool = True
    """Whether gradients stay from one pass to the next."""


@dataclass(frozen=True)
class Memory:
    """Bytes by term; `peak` is the highest moment of a step as the allocator counts it."""

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

    @property
    def standing(self) -> float:
        """Return what is there all the time."""
        return self.weights + self.trained + self.gradients + self.states + self.reference

    @property
    def allocated(self) -> float:
        """Return the peak of what tensors take."""
        forward = self.activations + max(self.work, self.logits)
        if self.accumulates:
            return self.standing + max(forward, self.update)
        # Gradients appear as what was kept goes; they are dropped before the next pass.
        late = self.gradients + max(self.work, self.update)
        return self.standing - self.gradients + max(forward, late)

    @property
    def peak(self) -> float:
        """Return what the device has to have."""
        return self.allocated + self.fragmented + self.framework


def training_memory(shape: ModelShape, recipe: Recipe, *, framework: float = 0.0) -> Memory:
    """Return the memory of a training step on one device."""
    divide = {key: max(1, recipe.shards.get(key, 1)) for key in ("weights", "gradients", "states")}
    base = stored(shape, recipe)
    trained = recipe.trained
    master = trained * recipe.master_bytes
    if not recipe.beside:
        base = max(0.0, base * (1 - min(1.0, trained / shape.params)))
    kept_layer: float = kept_by_layer(shape, recipe) * recipe.tokens
    stream: float = shape.hidden * recipe.stream_bytes * recipe.tokens
    work: float = BACKWARD_TENSORS * shape.layer_width * recipe.compute_bytes * recipe.tokens
    work += 2 * stream
    if divide["weights"] > 1:  # one layer's weights are gathered at a time, the next beside it
        work += 2 * shape.inside / shape.layers * max(recipe.compute_bytes, 2)
    if recipe.checkpointing:
        kept, work = shape.layers * stream, work + kept_layer
    else:
        kept = shape.layers * kept_layer
    if recipe.weights in ("nf4", "nf4-dq", "int8", "int4"):  # a matrix is unpacked when it is used
        work += max(shape.intermediate, shape.query_width) * shape.hidden * recipe.compute_bytes
    logits = logits_bytes(shape, recipe)
    memory = Memory(
        weights=base / divide["weights"] + recipe.extra_bytes,
        trained=(master + trained * recipe.cast_bytes) / divide["weights"],
        gradients=trained * recipe.gradient_bytes / divide["gradients"],
        states=trained * recipe.state_bytes / divide["states"],
        activations=kept,
        work=work,
        logits=logits,
        update=trained * recipe.update_bytes / divide["states"],
        reference=recipe.copies * stored(shape, recipe) / divide["weights"],
        framework=framework,
        accumulates=recipe.accumulates,
    )
    coming = max(memory.activations + max(memory.work, memory.logits), memory.update)
    return Memory(**{**memory.__dict__, "fragmented": FRAGMENTED * coming})


def stored(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes of the base's weights."""
    inside = shape.inside * BYTES_PER_WEIGHT[recipe.weights]
    return inside + shape.outside * BYTES_PER_WEIGHT[recipe.outside]


def kept_by_layer(shape: ModelShape, recipe: Recipe) -> float:
    """Return what a layer keeps per token for its backward pass, in bytes."""
    size = recipe.compute_bytes
    norms = 2 * shape.hidden * (4 if size == 2 else size)
    attention = (4 * shape.query_width) * size  # queries, repeated keys and values, result
    mlp = (3 if shape.gated else 2) * shape.layer_width * size
    inputs = recipe.adapted * size
    if not recipe.beside:  # each product keeps its input for the gradient of its weight
        own = 4 if size == 4 else 6  # autocast makes each product its own copy; norms keep theirs
        inputs = (own * shape.hidden + shape.query_width) * size
        inputs += shape.layer_width * size
    eager = 0.0
    if recipe.attention == "eager":  # scores: float32 softmax and its copy in the compute type
        eager = shape.heads * recipe.length * (4 + 2 * size)
    return norms + attention + mlp + inputs + eager


def logits_bytes(shape: ModelShape, recipe: Recipe) -> float:
    """Return what the head's logits take at once."""
    if recipe.logit_bytes is not None:
        return recipe.tokens * shape.vocab * recipe.logit_bytes
    chunk = min(recipe.chunk_bytes, recipe.tokens * shape.vocab * 4.0)
    slopes = recipe.tokens * shape.hidden * recipe.compute_bytes
    head = 0.0 if recipe.beside else shape.table * 4
    copies = 2 if recipe.compute_bytes == 4 else 3  # the chunk before is still there; and a cast
    return chunk * copies + slopes + head
