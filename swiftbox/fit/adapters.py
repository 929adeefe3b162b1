"""How many parameters a tuner trains, from the shape alone."""

from __future__ import annotations

from collections.abc import Sequence

from swiftbox.fit.shape import ModelShape

ATTENTION = ("q", "k", "v", "o")
MLP = ("gate", "up", "down")
EVERY = (*ATTENTION, *MLP)


def linears(shape: ModelShape, targets: Sequence[str] = EVERY) -> list[tuple[int, int]]:
    """Return inputs and outputs of the targeted linear layers of one block, without experts."""
    width = shape.intermediate if not shape.experts else shape.shared_width
    sizes = {
        "q": (shape.hidden, shape.query_width),
        "k": (shape.hidden, shape.key_width),
        "v": (shape.hidden, shape.key_width),
        "o": (shape.query_width, shape.hidden),
        "gate": (shape.hidden, width),
        "up": (shape.hidden, width),
        "down": (width, shape.hidden),
    }
    if not shape.gated:
        sizes.pop("gate")
    return [sizes[target] for target in targets if target in sizes and min(sizes[target])]


def lora_parameters(shape: ModelShape, rank: int, targets: Sequence[str] = EVERY) -> float:
    """Count the parameters of LoRA: rank x (inputs + outputs) of each layer (arXiv:2106.09685)."""
    return float(shape.layers * rank * sum(sum(sizes) for sizes in linears(shape, targets)))


def adapted_width(
    shape: ModelShape, targets: Sequence[str] = EVERY, *, shared: bool = False
) -> int:
    """Return how many input values adapters save per token and block for the backward pass.

    If adapters and base have the same number type, layers share their input; otherwise each adapter
    saves a copy in its compute type.
    """
    if not shared:
        return sum(inputs for inputs, _ in linears(shape, targets))
    groups = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))
    first = [next((name for name in group if name in targets), None) for group in groups]
    return sum(inputs for inputs, _ in linears(shape, [name for name in first if name]))
