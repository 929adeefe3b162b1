"""Compare the tensors of a written model with those of its base, and add what its class left out.

A class leaves out tensors that it does not compute with, such as layers that predict several
tokens at once; other programs load them. They are copied from the base bit by bit. Every other
tensor of the base must be in the result by its name, and in its shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from swiftbox.core.weights.placement import (
    INDEX,
    SINGLE_FILE,
    tensor_files,
    without_known_extras,
)
from swiftbox.core.weights.quantized_bases import is_quantized
from swiftbox.core.weights.score_head import head_parts, is_in_head
from swiftbox.core.weights.vocabulary import language_head
from swiftbox.errors import ResultError
from swiftbox.files import read_json, write_json
from swiftbox.formatting import counted
from swiftbox.language import text

FIRST_FILE = "model-00000.safetensors"
"""The new name of a single file: beside an index it would be loaded alone."""

EXTRA_FILE = "model-extra-{:05d}.safetensors"
MAX_FILE_BYTES = 2 * 2**30
"""A file is written at once, from memory."""

QUANTIZATION_STATES = ("SCB", "weight_format")
"""Tensors that bitsandbytes adds to a layer of 8 bits; those of 4 bits extend a weight's name."""


@dataclass(frozen=True)
class TensorDifference:
    """How the tensors of a result differ from those of its base."""

    left_out: tuple[str, ...]
    """Tensors that the class does not load."""
    lost: tuple[str, ...]
    added: tuple[str, ...]
    reshaped: tuple[str, ...]


def complete_weights(model: Any, source: Path, target: Path) -> tuple[str, ...]:
    """Copy what the class of a model left out of its base; return the names.

    Raises ResultError if the result has lost, added or reshaped another tensor.
    """
    difference = tensor_difference(model, source, target)
    for names, error in (
        (difference.lost, _lost),
        (difference.added, _added),
        (difference.reshaped, _reshaped),
    ):
        if names:
            raise error(names)
    return copy_left_out(difference, source, target)


def copy_left_out(difference: TensorDifference, source: Path, target: Path) -> tuple[str, ...]:
    """Copy what the class of a model left out of its base; return the names."""
    if difference.left_out:
        _copy(difference.left_out, tensor_files(source), target)
    return difference.left_out


def tensor_difference(model: Any, source: Path, target: Path) -> TensorDifference:
    """Compare the headers of two folders, of which the model wrote one."""
    before, after = _shapes(source), _shapes(target)
    allowed = _AllowedChanges.of(model)
    gone = sorted(before.keys() - after.keys())
    left_out = set(gone) - set(without_known_extras(gone, model.config))
    left_out |= {name for name in gone if allowed.leaves_out(name)}
    new = sorted(after.keys() - before.keys())
    common = sorted(before.keys() & after.keys())
    return TensorDifference(
        tuple(sorted(left_out)),
        tuple(name for name in gone if name not in left_out and not allowed.may_go(name)),
        tuple(name for name in new if not (allowed.may_come(name) or _is_state(name, before))),
        tuple(name for name in common if not allowed.fits(name, before, after)),
    )


@dataclass(frozen=True)
class _AllowedChanges:
    """Which tensors of a model may differ from those of its base."""

    tied: frozenset[str]
    """Last parts of the names of modules that share a tensor."""
    ends: frozenset[str]
    """Those of the embeddings and of the head, which an adapter may have resized or separated."""
    rows: int
    """Rows of the embeddings."""
    patterns: re.Pattern[str] | None
    """Tensors that the class does not load."""
    head: tuple[str, ...]
    """The parts of the head of a classifier."""
    body: str
    """What the names of the weights below the head begin with."""
    is_quantized: bool

    @classmethod
    def of(cls, model: Any) -> _AllowedChanges:
        """Return the changes that a loaded model may make."""
        patterns = sorted(model._keys_to_ignore_on_load_unexpected or ())
        tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        embeddings, head = model.get_input_embeddings(), language_head(model)
        modules = dict(model.named_modules()).items()
        return cls(
            frozenset(_module(name) for pair in tied.items() for name in pair),
            frozenset(
                name.rpartition(".")[2] for name, part in modules if part in (embeddings, head)
            ),
            embeddings.weight.shape[0],
            re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None,
            head_parts(model),
            f"{model.base_model_prefix}.",
            is_quantized(model),
        )

    def leaves_out(self, name: str) -> bool:
        """Tell whether the class does not load a tensor."""
        return self.patterns is not None and bool(self.patterns.search(name))

    def may_go(self, name: str) -> bool:
        """Tell whether a tensor is stored under another name too, or is the replaced head."""
        is_outside = name.count(".") == 1 or not name.startswith(self.body)
        return _module(name) in self.tied or (bool(self.head) and is_outside)

    def may_come(self, name: str) -> bool:
        """Tell whether a tensor is that of a head: a new one, or one that was tied."""
        return _module(name) in self.ends or is_in_head(name, self.head)

    def fits(self, name: str, before: _Shapes, after: _Shapes) -> bool:
        """Tell whether a tensor has the shape that it has in the base."""
        old, new = before[name], after[name]
        if old == new or (self.is_quantized and _is_packed(name, after)):
            return True
        return _module(name) in self.ends and old[1:] == new[1:] and new[0] == self.rows


_Shapes = Mapping[str, tuple[int, ...]]


def _module(name: str) -> str:
    """Return the last part of the name of a tensor's module."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _is_packed(name: str, after: _Shapes) -> bool:
    module = name.rpartition(".")[0]
    states = {f"{module}.{state}" for state in QUANTIZATION_STATES}
    return not states.isdisjoint(after) or any(other.startswith(f"{name}.") for other in after)


def _is_state(name: str, before: _Shapes) -> bool:
    """Tell whether a tensor belongs to a quantized weight of the base."""
    module, _, last = name.rpartition(".")
    if last in QUANTIZATION_STATES:
        return f"{module}.weight" in before
    parts = name.split(".")
    return any(".".join(parts[:count]) in before for count in range(1, len(parts)))


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(set(tensor_files(folder).values())):
        with safe_open(path, framework="pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    return shapes


def _copy(names: Sequence[str], files: Mapping[str, Path], target: Path) -> None:
    """Copy tensors into further files of a folder, and write its index."""
    index = read_json(target / INDEX) or _index_of_single(target)
    places = index["weight_map"]
    numbers = count()
    for tensors in _groups(names, files):  # enumerate would keep them for another turn
        file_name = EXTRA_FILE.format(next(numbers))
        save_file(tensors, target / file_name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, file_name)
        size = sum(tensor.nbytes for tensor in tensors.values())
        index["metadata"]["total_size"] = int(index["metadata"].get("total_size", 0)) + size
        del tensors  # before the next ones are read
    write_json(target / INDEX, index)


def _read(name: str, files: Mapping[str, Path]) -> Any:
    with safe_open(files[name], framework="pt") as file:
        return file.get_tensor(name)


def _groups(names: Sequence[str], files: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Yield tensors by name, as many at once as a file may have."""
    group: dict[str, Any] = {}
    left = MAX_FILE_BYTES
    for name in names:
        tensor = _read(name, files)
        if group and tensor.nbytes > left:
            yield group
            group, left = {}, MAX_FILE_BYTES
        group[name] = tensor
        left -= tensor.nbytes
    yield group


def _index_of_single(target: Path) -> dict[str, Any]:
    """Rename a single file of weights, and return its index."""
    places = dict.fromkeys(tensor_files(target), FIRST_FILE)
    size = (target / SINGLE_FILE).stat().st_size
    (target / SINGLE_FILE).rename(target / FIRST_FILE)
    return {"metadata": {"total_size": size}, "weight_map": places}


def copied_message(names: Sequence[str]) -> str:
    """Say which tensors were copied."""
    return text(
        f"{len(names)} tensors that the class does not compute with ({names[0]} ...) were copied "
        "from the base",
        f"该类不参与计算的 {len(names)} 个张量（{names[0]} ...）已从基座原样复制",
    )


def _lost(names: Sequence[str]) -> ResultError:
    return _failure(
        text(
            f"the written model lacks {counted(len(names), 'tensor')} of its base ({names[0]} ...)",
            f"写出的模型缺少基座的 {len(names)} 个张量（{names[0]} ...）",
        )
    )


def _added(names: Sequence[str]) -> ResultError:
    return _failure(
        text(
            f"the written model has {counted(len(names), 'tensor')} that its base does not have "
            f"({names[0]} ...)",
            f"写出的模型多出基座没有的 {len(names)} 个张量（{names[0]} ...）",
        )
    )


def _reshaped(names: Sequence[str]) -> ResultError:
    return _failure(
        text(
            f"the written model has {counted(len(names), 'tensor')} of another shape than its base "
            f"({names[0]} ...)",
            f"写出的模型中有 {len(names)} 个张量的形状与基座不同（{names[0]} ...）",
        )
    )


def _failure(message: str) -> ResultError:
    return ResultError(message, hint=text("nothing was written", "未写入任何内容"))
