"""Whether the stored tensors look like those of the class, by its source alone.

These are suspicions: a loading by headers decides. Families differ, so each rule asks only for
what the source states plainly: names that it knows, layers that are alike, parts that go together.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from swiftbox.architectures.modalities import EXTRA, reads_other_modality
from swiftbox.architectures.tables import conversions_source, source_of
from swiftbox.models.class_parts import (
    PARAMETER,
    PART,
    Part,
    classes_of,
    plain_parts,
    reached_classes,
)
from swiftbox.models.config_fields import whole_dimension
from swiftbox.models.config_keys import NAMES, language_part

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""The dtype and shape of each tensor."""

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
LAYER = re.compile(r"^(.*?\b(?:layers|h|blocks?|layer))\.(\d+)\.(.+)$")
"""A tensor of a layer: the list, the number, and the rest of the name."""

HEADS = ("lm_head", "score", "classifier", "embed_out")
"""Layers that need not be stored: a head may share the embeddings, or start at random."""

TIED = re.compile(r"^    tie_word_embeddings: bool(?: \| None)? = True", re.M)


def looks_foreign(config: Mapping[str, Any], tensors: Tensors, class_name: str) -> bool:
    """Tell whether names, biases or shapes may not be those of the class that loads the model."""
    source = family_source(config)
    tensors = {name: tensor for name, tensor in tensors.items() if not EXTRA.search(name)}
    if not source or not tensors:
        return False
    return any(
        (
            any(_unknown_names(source, tensors)),
            _layers_differ(tensors),
            _other_layers(config, tensors),
            _lacks_head(config, tensors),
            any(_missing_parts(source, tensors)),
            any(_other_parts(source, class_name, config, tensors)),
        )
    )


def family_source(config: Mapping[str, Any]) -> str:
    """Return the source of the classes of a model and of its parts."""
    types = {str(config.get("model_type") or "")}
    types |= {
        str(part.get("model_type") or "") for part in config.values() if isinstance(part, dict)
    }
    return "\n".join(source_of(model_type, "modeling") for model_type in sorted(types - {""}))


@functools.cache
def _converted_names() -> frozenset[str]:
    return frozenset(IDENTIFIER.findall(conversions_source()))


def _not_converted(names: Set[str]) -> Set[str]:
    """Return the names that no conversion knows; the table is large and read only if needed."""
    return names - _converted_names() if names else names


def _unknown_names(source: str, tensors: Tensors) -> Iterator[str]:
    """Yield parts of names that occur nowhere in the source."""
    parts = {part for name in tensors for part in name.split(".") if not part.isdecimal()}
    yield from parts & {"module"}
    yield from _not_converted(parts - {*IDENTIFIER.findall(source), "weight", "bias", "module"})


def _layers(tensors: Tensors) -> Mapping[str, Mapping[int, frozenset[tuple[str, Any]]]]:
    """Return the tensors of each layer, by the list that the layers are in."""
    lists: dict[str, dict[int, set[tuple[str, Any]]]] = {}
    for name, (_dtype, shape) in tensors.items():
        if match := LAYER.match(name):
            layers = lists.setdefault(match[1], {})
            layers.setdefault(int(match[2][:9]), set()).add((match[3], shape))
    return {
        path: {number: frozenset(names) for number, names in layers.items()}
        for path, layers in lists.items()
    }


def _layers_differ(tensors: Tensors) -> bool:
    """Tell whether a layer lacks tensors of another, or has one of them in another shape."""
    for layers in _layers(tensors).values():
        children = [_children(kind) for kind in set(layers.values())]
        if len({len(names) for names in children}) > 1:
            return True
        for child in {name for names in children for name in names}:
            kinds = {names[child] for names in children if child in names}
            names = [frozenset(name for name, _shape in kind) for kind in kinds]
            if len(set(names)) < len(kinds) or any(a < b for a in names for b in names):
                return True
    return False


def _children(names: Iterable[tuple[str, Any]]) -> Mapping[str, frozenset[tuple[str, Any]]]:
    """Return the tensors of a layer by the module of the layer that they are in."""
    modules: dict[str, set[tuple[str, Any]]] = {}
    for name, shape in names:
        modules.setdefault(name.partition(".")[0], set()).add((name, shape))
    return {module: frozenset(members) for module, members in modules.items()}


def _other_layers(config: Mapping[str, Any], tensors: Tensors) -> bool:
    """Tell whether a list has not exactly the layers that config.json states."""
    decoder = language_part(config)
    stated = whole_dimension(decoder, "layers")
    towers = [part for part in config.values() if isinstance(part, dict) and part is not decoder]
    depths = {part.get(key) for part in towers for key in ("depth", *NAMES["layers"])}
    for path, layers in _layers(tensors).items():
        if set(layers) != set(range(len(layers))):
            return True
        if reads_other_modality(path):
            if len(layers) not in depths:
                return True
        elif stated is not None and len(layers) != stated:
            return True
    return False


def _lacks_head(config: Mapping[str, Any], tensors: Tensors) -> bool:
    """Tell whether only the embeddings have a row per token, and nothing says they are shared."""
    part = language_part(config)
    rows = whole_dimension(part, "vocab") or whole_dimension(config, "vocab")
    tied = part.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if tied is None:
        types = (config.get("model_type"), part.get("model_type"))
        tied = any(TIED.search(source_of(str(name), "configuration")) for name in types if name)
    wide = [name for name, (_dtype, shape) in tensors.items() if shape[:1] == (rows,)]
    return not tied and len(wide) < 2


def _missing_parts(source: str, tensors: Tensors) -> Iterator[str]:
    """Yield layers that a class always makes, if most layers of the class are stored."""
    stored = {part for name in tensors for part in name.split(".")}
    for body in classes_of(source).values():
        parts = {match["name"] for match in PART.finditer(body)}
        if len(parts - stored) < len(parts & stored):
            yield from parts - stored


def _other_parts(
    source: str, class_name: str, config: Mapping[str, Any], tensors: Tensors
) -> Iterator[str]:
    """Yield layers of the class that are not stored, or with another bias or shape."""
    classes, modules = classes_of(source), _stored_modules(tensors)
    nested = [part for part in config.values() if isinstance(part, dict)]
    configs = [part for part in (config, *nested) if whole_dimension(part, "hidden")]
    plain = plain_parts(classes, configs)
    types = [str(part.get("model_type") or "") for part in nested]
    for body in (classes[name] for name in reached_classes(classes, class_name, types)):
        leaves = _not_converted(set(PARAMETER.findall(body)))
        yield from (name for name in leaves if not any(name in kinds for kinds in modules.values()))
        for name in {match["name"] for match in PART.finditer(body)}:
            if name not in modules:
                yield from () if name in HEADS else (name,)
            elif name in plain and not _agrees(modules[name], plain[name]):
                yield name


_Kinds = Mapping[str, set[tuple[int, ...]]]
"""The shapes of a module's tensors by the last part of their names."""


def _stored_modules(tensors: Tensors) -> Mapping[str, _Kinds]:
    """Return the tensors of modules by the last part of the modules' names."""
    modules: dict[str, dict[str, set[tuple[int, ...]]]] = {}
    for name, (_dtype, shape) in tensors.items():
        module, _, kind = name.rpartition(".")
        modules.setdefault(module.rpartition(".")[2], {}).setdefault(kind, set()).add(shape)
    return modules


def _agrees(stored: _Kinds, parts: Sequence[Part]) -> bool:
    """Tell whether a stored layer may be one of those that the class makes under its name."""
    if "weight" not in stored:
        return False
    if all(part.biases for part in parts):
        possible = frozenset[bool]().union(*(part.biases for part in parts))
        if ("bias" in stored) not in possible:
            return False
    shapes = [shape for part in parts for shape in part.shapes]
    if not all(part.shapes for part in parts):
        return True
    lengths = set(map(len, shapes))  # other layers of the name have another number of axes
    weights = [shape for shape in stored["weight"] if len(shape) in lengths]
    return all(any(_fits(shape, weight) for shape in shapes) for weight in weights)


def _fits(sizes: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(sizes) == len(shape) and all(
        size in (None, stored) for size, stored in zip(sizes, shape, strict=True)
    )
