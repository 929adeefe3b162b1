"""The parts of a model that read pictures or sound: its towers, and the layers that project them.

Everything outside of the decoder and the heads is such a part, in every family; a few families
keep a tower inside the decoder, where its name tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from swiftbox.architectures.modalities import TOWERS
from swiftbox.core.weights.score_head import head_parts
from swiftbox.core.weights.vocabulary import language_head


def other_modalities(model: Any) -> tuple[str, ...]:
    """Return the names of the modules that text alone does not reach, the outermost of each."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    heads = {language_head(model), *map(model.get_submodule, head_parts(model))} - {None}
    return tuple(_outside(model, "", decoder, heads))


def _outside(module: Any, path: str, decoder: Any, heads: set[Any]) -> Iterator[str]:
    if module is decoder:
        yield from _towers_within(module, path)
        return
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if child in heads:
            continue
        if any(part is decoder or part in heads for part in child.modules()):
            yield from _outside(child, child_path, decoder, heads)
        elif next(child.parameters(), None) is not None:
            yield child_path


def _towers_within(module: Any, path: str) -> Iterator[str]:
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if any(tower in name for tower in TOWERS):
            yield child_path
        else:
            yield from _towers_within(child, child_path)


def part_of(name: str, parts: Sequence[str]) -> str:
    """Return the part that a module or weight is in; empty if it is in none."""
    return next((part for part in parts if name == part or name.startswith(f"{part}.")), "")


def names_part(target: str, name: str, part: str) -> bool:
    """Tell whether a target that ends a module's name reaches back to the name of its part."""
    return target.count(".") >= name.count(".") - part.count(".")
