"""Whether the names of the stored tensors look like those of the class, by its source alone.

These are suspicions: a loading by headers decides. Families differ, so each rule asks only for
what the source states plainly: names that it knows, layers that are alike, parts that go together.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.architectures.modalities import EXTRA
from swiftbox.architectures.tables import conversions_source, source_of
from swiftbox.models.config_fields import whole_dimension
from swiftbox.models.config_keys import language_part

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""The dtype and shape of each tensor."""

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
LAYER = re.compile(r"^(.*?\b(?:layers|h|blocks?|layer))\.(\d+)\.(.+)$")
"""A tensor of a layer: the list, the number, and the rest of the name."""

CLASS = re.compile(r"^class \w+.*?(?=^class |\Z)", re.S | re.M)
PART = re.compile(
    r"^        self\.(\w+) = (?:nn\.)?(?!\w*Rotary)"
    r"\w*(?:Linear|Conv1D|Embedding|RMSNorm|LayerNorm)\((?!.* if )",
    re.M,
)
"""A layer with weights that a class makes in every case."""

TIED = re.compile(r"^    tie_word_embeddings: bool(?: \| None)? = True", re.M)


def looks_foreign(config: Mapping[str, Any], tensors: Tensors) -> bool:
    """Tell whether the names may not be those of the class that loads the model."""
    source = family_source(config)
    tensors = {name: tensor for name, tensor in tensors.items() if not EXTRA.search(name)}
    if not source or not tensors:
        return False
    return any(
        (
            any(_unknown_names(source, tensors)),
            _layers_differ(tensors),
            _layers_beyond(config, tensors),
            _lacks_head(config, tensors),
            any(_missing_parts(source, tensors)),
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


def _unknown_names(source: str, tensors: Tensors) -> Iterator[str]:
    """Yield parts of names that occur nowhere in the source."""
    parts = {part for name in tensors for part in name.split(".") if not part.isdecimal()}
    known = {*IDENTIFIER.findall(source), *_converted_names(), "weight", "bias"} - {"module"}
    yield from parts - known


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
        kinds = set(layers.values())
        names = [frozenset(name for name, _shape in kind) for kind in kinds]
        if len(set(names)) < len(kinds) or any(a < b for a in names for b in names):
            return True
    return False


def _layers_beyond(config: Mapping[str, Any], tensors: Tensors) -> bool:
    """Tell whether a list has layers beyond those that config.json states."""
    part = language_part(config)
    stated = whole_dimension(part, "layers")
    counts = [len(layers) for layers in _layers(tensors).values()]
    return stated is not None and bool(counts) and stated not in counts


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
    for match in CLASS.finditer(source):
        parts = set(PART.findall(match[0]))
        if len(parts - stored) < len(parts & stored):
            yield from parts - stored
