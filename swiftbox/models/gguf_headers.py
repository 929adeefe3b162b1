"""The headers of a GGUF file: metadata, and the types and shapes of its tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from swiftbox.errors import ResultError
from swiftbox.language import text

TENSOR_TYPES: Mapping[int, str] = {
    **{0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0"},
    **{10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 16: "IQ2_XXS"},
    **{17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S"},
    **{23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M"},
    **{30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0"},
}
"""The tensor types of ggml in files; Q8_1 and Q8_K exist only during a computation."""

BLOCKS: Mapping[str, tuple[int, int]] = {
    **{"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "IQ4_NL": (32, 18)},
    **{"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34)},
    **{"Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176)},
    **{"Q6_K": (256, 210), "IQ2_XXS": (256, 66)},
    **{"IQ2_XS": (256, 74), "IQ3_XXS": (256, 98), "IQ1_S": (256, 50), "IQ3_S": (256, 110)},
    **{"IQ2_S": (256, 82), "IQ4_XS": (256, 136), "IQ1_M": (256, 56), "TQ1_0": (256, 54)},
    **{"TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36), "Q1_0": (128, 18)},
    **{"I8": (1, 1), "I16": (1, 2), "I32": (1, 4), "I64": (1, 8), "F64": (1, 8)},
}
"""Elements per block, and bytes per block."""

SCALARS: Mapping[int, str] = {
    **{0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
}
STRING, ARRAY = 8, 9
"""Types of metadata values; scalar types have a fixed size."""

LONGEST_STRING = 64 * 2**20
"""Bytes; a damaged length would make room for any number of them."""

MOST_AXES = 4
"""Of a tensor of ggml."""

ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32
TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True)
class GgufTensor:
    """Shape and type of a stored tensor; the last axis is that of its rows."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def element_count(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Return the size in bytes."""
        block_elements, block_bytes = BLOCKS[self.dtype]
        return -(-self.element_count // block_elements) * block_bytes


@dataclass(frozen=True)
class GgufHeaders:
    """What a GGUF file says about itself; arrays are left out of the metadata."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, GgufTensor] = field(default_factory=dict)
    data_bytes: int = 0
    """The size of all tensors."""
    expected_file_bytes: int = 0
    """The size that the file must have to hold them."""


def read_headers(path: Path) -> GgufHeaders:
    """Read the headers of a GGUF file; raise ResultError if it is not one, or is cut off."""
    with path.open("rb") as file:
        try:
            headers = _headers(file)
        except (struct.error, KeyError, ValueError, OverflowError, RecursionError) as error:
            raise _invalid(path, str(error)) from None
        except OSError as error:  # a place that no file has
            raise _invalid(path, str(error.strerror)) from None
    actual = path.stat().st_size
    if actual < headers.expected_file_bytes:
        raise _invalid(path, f"{actual} < {headers.expected_file_bytes}")
    return headers


def _invalid(path: Path, reason: str) -> ResultError:
    return ResultError(
        text(
            f"{path.name} is not a complete GGUF file ({reason})",
            f"{path.name} 不是完整的 GGUF 文件（{reason}）",
        ),
        hint=text("download it or quantize the model again", "请重新下载或重新量化"),
    )


def _headers(file: BinaryIO) -> GgufHeaders:
    magic, version, tensor_count, metadata_count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise struct.error(f"{magic!r} {version}")
    metadata = dict(_metadata(file, metadata_count))
    tensors: dict[str, GgufTensor] = {}
    end = data_bytes = 0
    for _ in range(tensor_count):
        name = _read_string(file)
        axes = _read(file, "I")
        if axes > MOST_AXES:
            raise struct.error(f"{name}: {axes} axes")
        shape = tuple(_read(file, "Q") for _ in range(axes))
        dtype = TENSOR_TYPES[_read(file, "I")]
        tensors[name] = GgufTensor(tuple(reversed(shape)), dtype)
        size = tensors[name].size_bytes
        end, data_bytes = max(end, _read(file, "Q") + size), data_bytes + size
    alignment = metadata.get(ALIGNMENT, DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise struct.error(f"{ALIGNMENT}: {alignment!r:.40}")
    start = -(-file.tell() // alignment) * alignment
    return GgufHeaders(metadata, tensors, data_bytes, start + end if tensors else 0)


def _metadata(file: BinaryIO, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key, value_type = _read_string(file), _read(file, "I")
        value = _read_value(file, value_type)
        if value_type != ARRAY:
            yield key, value


def _read_value(file: BinaryIO, value_type: int) -> Any:
    if value_type == STRING:
        return _read_string(file)
    if value_type != ARRAY:
        return _read(file, SCALARS[value_type])
    item_type, count = _read(file, "I"), _read(file, "Q")
    if item_type in SCALARS:
        file.seek(count * struct.calcsize(SCALARS[item_type]), 1)
        return None
    for _ in range(count):
        _read_value(file, item_type)
    return None


def _read(file: BinaryIO, kind: str) -> Any:
    return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]


def _read_string(file: BinaryIO) -> str:
    length = _read(file, "Q")
    if length > LONGEST_STRING:
        raise struct.error(f"{length} bytes")
    content = file.read(length)
    if len(content) != length:
        raise struct.error(f"{len(content)} of {length} bytes")
    return content.decode()
