"""How libraries store quantized weights: which tensors stand for one matrix, and their shapes.

The tables follow what gptqmodel, AutoAWQ, llm-compressor, bitsandbytes and transformers write.
Whether a module is quantized is read from its tensors: lists of spared modules decide nothing.

Shapes: I inputs and O outputs of a matrix, G groups of inputs with one scale.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from swiftbox.architectures.stored_settings import Shape, StoredForm

Tensors = Mapping[str, tuple[str, Shape]]
"""The dtype and shape of each tensor, by name."""

WORD_BITS: Mapping[str, int] = {
    **dict.fromkeys(("U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64"), 64),
}
"""Bits of an element, by dtype names of safetensors."""

NARROW = ("F8_E4M3", "F8_E5M2", "I8")
"""Dtypes of matrices of 8 bits, which mean nothing without their scales."""

SIDE_TENSOR = re.compile(
    r"(?:^|\.)(?:[a-z_]*(?:scale|scales|zero_point|zeros|qzeros|g_idx)(?:_inv)?"
    r"|qscale_\w+|weight_format)$"
)
"""Numbers beside a matrix, such as scales of activations and of caches, which engines may read."""


@dataclass(frozen=True)
class Reading:
    """The matrix that some tensors stand for; None where their shapes alone do not say it."""

    shape: Shape | None
    expected: Mapping[str, Shape] = field(default_factory=dict)
    """The shape of each part that follows from the others and from the settings."""


Parts = Mapping[str, tuple[str, Shape]]
"""The parts of one matrix, by what follows the name of its module."""


@dataclass(frozen=True)
class PackedForm:
    """The tensors that stand for one matrix, under other names than its own."""

    parts: tuple[str, ...]
    """What each matrix has, beside the name of its module."""
    read: Callable[[Parts, StoredForm], Reading]
    marks: tuple[str, ...]
    """Parts that nothing else is named after: one of them is enough to know the form."""
    common: tuple[str, ...] = ()
    """Parts that every matrix of a model has, or none."""


@dataclass
class StoredWeights:
    """The matrices that a folder's tensors stand for, and what is wrong with them."""

    dense: dict[str, Shape | None] = field(default_factory=dict)
    """The shape of each weight, None where it is not known."""
    lacking: list[str] = field(default_factory=list)
    """Tensors that the others need."""
    misshapen: list[str] = field(default_factory=list)


# ---- one function for each form


def _gptq(parts: Parts, settings: StoredForm) -> Reading:
    """Read qweight (I * bits / word, O), scales and qzeros (G, ...), and g_idx (I)."""
    dtype, (rows, outputs) = parts["qweight"]
    word, bits = WORD_BITS[dtype], settings.bits
    if "g_idx" in parts:
        (inputs,) = parts["g_idx"][1]
        bits = bits or rows * word // inputs
    elif bits is None:
        return Reading(None)
    else:
        inputs = rows * word // bits
    groups = _groups(inputs, settings, parts["scales"][1][0])
    expected: dict[str, Shape] = {
        "qweight": (math.ceil(inputs * bits / word), outputs),
        "scales": (groups, outputs),
        "qzeros": (groups, math.ceil(outputs * bits / word)),
    }
    return Reading((outputs, inputs), expected)


def _awq(parts: Parts, settings: StoredForm) -> Reading:
    """Read qweight (I, O * bits / word), qzeros (G, O * bits / word) and scales (G, O)."""
    dtype, (inputs, columns) = parts["qweight"]
    groups = _groups(inputs, settings, parts["scales"][1][0])
    outputs = parts["scales"][1][1]
    bits = settings.bits or columns * WORD_BITS[dtype] // outputs
    expected: dict[str, Shape] = {
        "qweight": (inputs, math.ceil(outputs * bits / WORD_BITS[dtype])),
        "scales": (groups, outputs),
        "qzeros": (groups, columns),
    }
    return Reading((outputs, inputs), expected)


def _packed(parts: Parts, settings: StoredForm) -> Reading:
    """Read weight_packed (O, I * bits / word), weight_scale (O, G) and weight_shape (2)."""
    dtype, (outputs, columns) = parts["weight_packed"]
    bits, word = settings.bits, WORD_BITS[dtype]
    expected: dict[str, Shape] = {}
    if "weight_shape" in parts:
        expected["weight_shape"] = (2,)
    if not bits or bits < 0 or word % bits:
        return Reading(None, expected)
    inputs = columns * (word // bits)
    if settings.strategy in ("group", "tensor_group") and (size := settings.group_size or 0) > 0:
        expected["weight_scale"] = (outputs, math.ceil(inputs / size))
    return Reading((outputs, inputs), expected)


def _groups(inputs: int, settings: StoredForm, stored: int) -> int:
    size = settings.group_size
    if size is None or size == 0:
        return stored
    return 1 if size < 0 else math.ceil(inputs / size)


PACKED_FORMS: Mapping[str, PackedForm] = {
    "gptq": PackedForm(
        ("qweight", "qzeros", "scales"), _gptq, ("qweight", "qzeros", "g_idx"), common=("g_idx",)
    ),
    "awq": PackedForm(("qweight", "scales"), _awq, ("qweight", "qzeros"), common=("qzeros",)),
    "compressed-tensors": PackedForm(
        ("weight_packed", "weight_scale"),
        _packed,
        ("weight_packed", "weight_shape"),
        common=("weight_shape", "weight_zero_point", "weight_global_scale"),
    ),
}
"""Forms whose matrices have other names, by the `quant_method` of config.json."""

SCALES: Mapping[str, tuple[str, ...]] = {
    "fp8": ("{name}_scale_inv", "{name}_scale", "{module}.scale", "{module}.qscale_weight"),
    "compressed-tensors": ("{name}_scale",),
    "bitsandbytes": ("{module}.SCB",),
}
"""Names of the scales of a matrix of 8 bits, of which it has one."""

NF4_PARTS = ("absmax", "quant_map", "quant_state")
NESTED_PARTS = ("nested_absmax", "nested_quant_map")
"""What follows the name of a matrix of 4 bits in bitsandbytes."""


def is_side_tensor(name: str) -> bool:
    """Tell whether a tensor may stand beside the matrix of a quantized module.

    Old files of GPTQ have biases of zeros in modules whose class has none.
    """
    part = name.rpartition(".")[2]
    in_form = any(part in (*form.parts, *form.common) for form in PACKED_FORMS.values())
    return in_form or part == "bias" or bool(SIDE_TENSOR.search(name))


# ---- a folder


def plain_weights(tensors: Tensors) -> StoredWeights:
    """Return the weights of a folder where each tensor is one."""
    return StoredWeights({name: shape for name, (_dtype, shape) in tensors.items()})


def read_stored(tensors: Tensors, settings: StoredForm) -> StoredWeights:
    """Return the weights that the tensors of a folder stand for."""
    stored = plain_weights(tensors)
    if settings.method in PACKED_FORMS:
        _read_packed(tensors, settings, stored)
    if settings.method in SCALES:
        _read_narrow(tensors, settings, stored)
    if settings.method == "bitsandbytes":
        _read_nf4(tensors, stored)
    stored.lacking.sort()
    stored.misshapen.sort()
    return stored


def _read_packed(tensors: Tensors, settings: StoredForm, stored: StoredWeights) -> None:
    """Put one weight in the place of the parts of each packed matrix."""
    form = PACKED_FORMS[settings.method]
    modules: dict[str, dict[str, tuple[str, Shape]]] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part in form.parts or part in form.common:
            modules.setdefault(module, {})[part] = tensor
    modules = {module: parts for module, parts in modules.items() if set(form.marks) & set(parts)}
    shared = {part for parts in modules.values() for part in parts} & set(form.common)
    for module, parts in modules.items():
        needed = {*form.parts, *(shared if settings.uniform else ())}
        lacking = needed - set(parts)
        stored.lacking += [f"{module}.{part}" for part in lacking]
        for part in parts:
            del stored.dense[f"{module}.{part}"]
        reading = Reading(None) if lacking else _reading(form, parts, settings)
        stored.dense[f"{module}.weight"] = reading.shape
        stored.misshapen += [
            f"{module}.{part}"
            for part, shape in reading.expected.items()
            if part in parts and parts[part][1] != shape
        ]


def _reading(form: PackedForm, parts: Parts, settings: StoredForm) -> Reading:
    """Read the parts of a matrix; parts of another rank than the form's are misshapen."""
    try:
        return form.read(parts, settings)
    except (ValueError, IndexError, ZeroDivisionError):
        return Reading(None, {form.parts[0]: ()})
    except KeyError:  # a dtype that the table does not have
        return Reading(None)


def _read_narrow(tensors: Tensors, settings: StoredForm, stored: StoredWeights) -> None:
    """Leave the scales of matrices of 8 bits out; note the matrices and scales without another."""
    patterns = SCALES[settings.method]
    for name, (dtype, shape) in tensors.items():
        if dtype not in NARROW or len(shape) < 2 or SIDE_TENSOR.search(name):
            continue
        names = [_scale_of(name, pattern) for pattern in patterns]
        scale = next((scale for scale in names if scale in tensors), None)
        if scale is None:
            stored.lacking.append(names[0])
            continue
        for side in (scale, f"{name}_zero_point"):
            stored.dense.pop(side, None)
        if not _scale_fits(tensors[scale][1], shape, settings):
            stored.misshapen.append(scale)
        if settings.method == "fp8" and dtype == "I8":  # two numbers of 4 bits in each
            stored.dense[name] = None
    for name in tensors:
        weight = name.removesuffix("_scale_inv").removesuffix("_scale")
        if weight != name and weight.endswith(".weight") and weight not in stored.dense:
            stored.lacking.append(weight)
            stored.dense[weight] = None


def _scale_of(name: str, pattern: str) -> str:
    return pattern.format(name=name, module=name.rpartition(".")[0])


def _scale_fits(scale: Shape, weight: Shape, settings: StoredForm) -> bool:
    """Tell whether a scale has the shape that the settings imply, where they imply one."""
    outputs, inputs = weight[-2:]
    count = math.prod(scale)
    if settings.method == "bitsandbytes":
        return count == outputs
    if settings.blocks is not None:
        rows, columns = settings.blocks
        expected = (-(-outputs // rows), -(-inputs // columns))
        return len(scale) < 2 or scale[-2:] == expected
    if settings.strategy == "tensor":
        return count == 1
    if settings.strategy == "channel":
        return count == outputs
    if settings.strategy == "group" and (size := settings.group_size or 0) > 0:
        return scale == (outputs, math.ceil(inputs / size))
    return True


def _read_nf4(tensors: Tensors, stored: StoredWeights) -> None:
    """Put one weight in the place of the parts of each matrix of 4 bits in bitsandbytes."""
    matrices: dict[str, set[str]] = {}
    for name in tensors:
        before, mark, part = name.rpartition(".weight.")
        kind = part.partition(".")[0]
        if mark and kind in (*NF4_PARTS, *NESTED_PARTS):
            matrices.setdefault(f"{before}.weight", set()).add(kind)
            del stored.dense[name]
    for name, (dtype, shape) in tensors.items():
        if dtype == "U8" and name.endswith(".weight") and len(shape) == 2 and shape[1] == 1:
            matrices.setdefault(name, set())
    for name, kinds in matrices.items():
        needed = {*NF4_PARTS, *(NESTED_PARTS if kinds & set(NESTED_PARTS) else ())}
        stored.lacking += [f"{name}.{kind}" for kind in needed - kinds]
        if name in tensors:
            dtype, shape = tensors[name]
            count = math.prod(shape) * WORD_BITS.get(dtype, 8) // 4
            stored.dense[name] = (count,)
        else:
            stored.lacking.append(name)
            stored.dense[name] = None
