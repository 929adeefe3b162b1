"""Whether the stored weights have the shapes that config.json states.

Shapes: V vocabulary, H hidden, I inputs and O outputs of a layer.

Families differ in names and extras, so a shape is wrong only if no candidate has the right one:
the embeddings of another modality, or layers of another width, refuse nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.language import text
from swiftbox.models.config_fields import whole_dimension
from swiftbox.models.config_keys import NAMES, language_part

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""The dtype and shape of each tensor."""

EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)\.weight$"
)
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks?|layer)\.(\d+)\.")
"""A tensor of a decoder layer; the group is the number of the layer."""

NUMBER = re.compile(r"\.\d+\.")

QUERY, KEY = ".self_attn.q_proj.weight", ".self_attn.k_proj.weight"

GATE = ".mlp.gate_proj.weight"

FLOATS = ("F64", "F32", "F16", "BF16")
WIDTHS = (*NAMES["hidden"], "word_embed_proj_dim", "embedding_size", "emb_dim")
"""Keys of the width of an embedding, which some families project to the hidden size."""


def shape_problems(config: Mapping[str, Any], tensors: Tensors) -> Iterator[str]:
    """Yield where the weights contradict config.json, with the tensor and both shapes."""
    part = language_part(config)
    rows = whole_dimension(part, "vocab") or whole_dimension(config, "vocab")
    widths = {value for key in WIDTHS if type(value := part.get(key)) is int}
    yield from _embedding_problems(tensors, rows, widths)
    yield from _layer_problems(part, tensors)
    yield from _head_problems(part, tensors)
    yield from _width_problems(part, tensors)


def embedding_rows(tensors: Tensors) -> int | None:
    """Return the rows of the largest token embedding; None without a known one."""
    return max((shape[0] for _name, shape in _embeddings(tensors)), default=None)


def _embeddings(tensors: Tensors) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (name, shape)
        for name, (dtype, shape) in tensors.items()
        if dtype in FLOATS and len(shape) == 2 and EMBEDDING.search(name)
    ]


def _embedding_problems(tensors: Tensors, rows: int | None, widths: set[int]) -> Iterator[str]:
    embeddings = _embeddings(tensors)
    if not embeddings or rows is None or not widths:
        return
    if any(shape[0] == rows and shape[1] in widths for _name, shape in embeddings):
        return
    name, (stored_rows, width) = embeddings[0]
    expected = f"{rows} x {' / '.join(map(str, sorted(widths)))}"
    yield text(
        f"{name} is {stored_rows} x {width}, but config.json states {expected}",
        f"{name} 为 {stored_rows} x {width}，而 config.json 为 {expected}",
    )


def _layer_problems(part: Mapping[str, Any], tensors: Tensors) -> Iterator[str]:
    stated = whole_dimension(part, "layers")
    if stated is None:
        return
    if part.get("num_layers_per_stack"):  # its layers run several times
        return
    numbers = {int(match[1][:9]) for name in tensors if (match := LAYER.search(name))}
    if not numbers and not any(NUMBER.search(name) for name in tensors):
        yield text("the weights hold no layers of a language model", "权重中没有语言模型的层")
    elif numbers and len(numbers) < stated:
        missing = next(number for number in range(stated) if number not in numbers)
        yield text(
            f"config.json states {stated} layers, but the weights hold {len(numbers)} "
            f"(no layer {missing})",
            f"config.json 为 {stated} 层，而权重中只有 {len(numbers)} 层（缺少第 {missing} 层）",
        )


def _head_problems(part: Mapping[str, Any], tensors: Tensors) -> Iterator[str]:
    """Compare the projections of queries and keys with the numbers of heads."""
    if any(key.endswith("head_dim") and key not in NAMES["head_dim"] for key in part):
        return  # layers of several kinds of attention
    heads = whole_dimension(part, "heads")
    kv_heads = whole_dimension(part, "kv_heads") or heads
    pairs = [
        (name, shape, tensors[name.removesuffix(QUERY) + KEY][1])
        for name, (dtype, shape) in tensors.items()
        if name.endswith(QUERY) and dtype in FLOATS and name.removesuffix(QUERY) + KEY in tensors
    ]
    if heads is None or kv_heads is None or not pairs:
        return
    widths = {value for key in NAMES["head_dim"] if type(value := part.get(key)) is int}
    if any(_heads_fit(query, key, (heads, kv_heads), widths) for _name, query, key in pairs):
        return
    name, query, key = pairs[0]
    yield text(
        f"{name} is {_by(query)} with keys of {_by(key)}, which does not fit {heads} heads and "
        f"{kv_heads} heads of keys in config.json",
        f"{name} 为 {_by(query)}、键为 {_by(key)}，与 config.json 的 {heads} 个头、"
        f"{kv_heads} 个键值头不符",
    )


def _heads_fit(
    query: Sequence[int], key: Sequence[int], heads: tuple[int, int], widths: set[int]
) -> bool:
    """Tell whether O of queries and keys are whole heads of one width; queries may be gated."""
    if len(query) != 2 or len(key) != 2 or key[0] % heads[1]:
        return False
    width = key[0] // heads[1]
    if widths and width not in widths:
        return False
    return query[0] in (heads[0] * width, 2 * heads[0] * width)


def _width_problems(part: Mapping[str, Any], tensors: Tensors) -> Iterator[str]:
    """Compare the width of the MLP, O of its first projection, with config.json."""
    widths = {
        value
        for key, value in part.items()
        if type(value) is int and ("intermediate" in key or key in NAMES["intermediate"])
    }
    gates = [
        (name, shape)
        for name, (dtype, shape) in tensors.items()
        if name.endswith(GATE) and dtype in FLOATS and len(shape) == 2
    ]
    if not gates or not widths or any(shape[0] in widths for _name, shape in gates):
        return
    name, shape = gates[0]
    stated = " / ".join(map(str, sorted(widths)))
    yield text(
        f"{name} is {_by(shape)}, but config.json states a width of {stated}",
        f"{name} 为 {_by(shape)}，而 config.json 中的宽度为 {stated}",
    )


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
