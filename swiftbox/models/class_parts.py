"""The layers that the source of a class makes: their names, biases and shapes, without torch.

Only what the source states plainly is read; what depends on more than a value of config.json is
left open.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLASS = re.compile(r"^class (\w+).*?(?=^class |\Z)", re.S | re.M)
CLASS_NAME = re.compile(r"\b[A-Z]\w+")
PART = re.compile(
    r"^        self\.(?P<name>\w+) = (?:nn\.)?(?!\w*Rotary)"
    r"(?P<kind>\w*(?:Linear|Conv1D|Embedding|RMSNorm|LayerNorm))"
    r"\((?P<arguments>(?:[^()]|\([^()]*\))*)\)(?! if )",
    re.M,
)
"""A layer with weights that a class makes in every case."""

PARAMETER = re.compile(r"^        self\.(?!weight\b|bias\b)(\w+) = nn\.Parameter\(", re.M)
"""A weight that a class makes by itself in every case."""

ASSIGNMENT = re.compile(r"\bself\.(\w+) = ")
FIELD = re.compile(r"^        self\.(\w+) = config\.(\w+)$", re.M)
VALUE = re.compile(r"(config|self)\.(\w+)")
BIASED = ("Linear", "Conv1D", "LayerNorm")
"""Layers that have a bias unless an argument says otherwise."""


@dataclass(frozen=True)
class Part:
    """A layer that a class makes."""

    name: str
    biases: frozenset[bool]
    """Whether it has a bias, by each part of config.json; empty if that is left open."""
    shapes: frozenset[tuple[int | None, ...]]
    """The shapes of its weight, by each part of config.json; None for a size left open."""


def classes_of(source: str) -> Mapping[str, str]:
    """Return the source of each class by its name."""
    return {match[1]: match[0] for match in CLASS.finditer(source)}


def reached_classes(classes: Mapping[str, str], root: str, types: Iterable[str]) -> Sequence[str]:
    """Return the names of the classes that a class names, and that those name in turn.

    `types` are the model types of its parts, whose classes it does not name.
    """
    reached: dict[str, None] = {}
    simple = {name.lower().replace("_", ""): name for name in classes}
    waiting = [root]
    if len(set(CLASS_NAME.findall(classes.get(root, ""))) & classes.keys() - {root}) < 2:
        waiting.append(f"{root.partition('For')[0]}Model")  # a class that only combines others
    for word in (model_type.replace("_", "").removesuffix("model") for model_type in types):
        waiting.append(simple.get(f"{word}model", ""))
    while waiting:
        name = waiting.pop()
        if name in classes and name not in reached and not name.endswith("PreTrainedModel"):
            reached[name] = None
            waiting += CLASS_NAME.findall(classes[name])
    return tuple(reached)


def plain_parts(
    classes: Mapping[str, str], configs: Sequence[Mapping[str, Any]]
) -> Mapping[str, Sequence[Part]]:
    """Return the layers of all classes by name, where no class makes one in another way."""
    parts: dict[str, list[Part]] = {}
    for part in (part for body in classes.values() for part in parts_of(body, configs)):
        parts.setdefault(part.name, []).append(part)
    assigned = Counter(name for body in classes.values() for name in ASSIGNMENT.findall(body))
    return {name: alike for name, alike in parts.items() if len(alike) == assigned[name]}


def parts_of(body: str, configs: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    """Yield the layers that a class makes, by the parts of config.json it may be made from."""
    fields = dict(FIELD.findall(body))
    for match in PART.finditer(body):
        arguments = [argument.strip() for argument in match["arguments"].split(",")]
        named = dict(
            argument.split("=", 1) for argument in arguments if re.match(r"\w+=", argument)
        )
        sizes = [argument for argument in arguments if argument and "=" not in argument]
        biases = {_bias(match["kind"], named.get("bias"), fields, config) for config in configs}
        shapes = {_shape(match["kind"], sizes, fields, config) for config in configs}
        yield Part(
            match["name"],
            frozenset()
            if None in biases
            else frozenset(bias for bias in biases if bias is not None),
            frozenset(shape for shape in shapes if shape),
        )


def _value(written: str, fields: Mapping[str, str], config: Mapping[str, Any]) -> Any:
    match = VALUE.fullmatch(written)
    if match is None:
        return None
    name = match[2] if match[1] == "config" else fields.get(match[2], "")
    value = config.get(name)
    return value if isinstance(value, int) else None


def _bias(
    kind: str, written: str | None, fields: Mapping[str, str], config: Mapping[str, Any]
) -> bool | None:
    """Return whether a layer has a bias; None if that is left open."""
    if written is None:
        return kind in BIASED if kind in (*BIASED, "Embedding") or "RMSNorm" in kind else None
    if written in ("True", "False"):
        return written == "True"
    value = _value(written, fields, config)
    return value if isinstance(value, bool) else None


def _shape(
    kind: str, sizes: Sequence[str], fields: Mapping[str, str], config: Mapping[str, Any]
) -> tuple[int | None, ...]:
    """Return the shape of a layer's weight; empty if nothing of it is known."""
    count = 1 if kind.endswith("Norm") else 2
    if len(sizes) < count or (count == 2 and kind not in ("Linear", "Conv1D", "Embedding")):
        return ()
    values = tuple(_value(size, fields, config) for size in sizes[:count])
    return tuple(reversed(values)) if kind in ("Linear", "Conv1D") else values
