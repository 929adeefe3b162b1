"""Headers of GGUF files are read as the package gguf writes them; damaged ones are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf_writing import TINY, write_gguf

from swiftbox.errors import ResultError
from swiftbox.models.gguf_headers import BLOCKS, TENSOR_TYPES, read_headers


def test_metadata_shapes_and_the_size_of_the_file_are_read(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", TINY, tokenizer__chat_template="{{ messages }}")
    headers = read_headers(path)
    assert headers.metadata["tokenizer.chat_template"] == "{{ messages }}"
    assert headers.metadata["llama.context_length"] == 2048
    assert "tokenizer.ggml.tokens" not in headers.metadata
    assert {name: header.shape for name, header in headers.tensors.items()} == {
        name: shape for name, (shape, _kind) in TINY.items()
    }
    assert headers.expected_file_bytes == path.stat().st_size


def test_types_and_sizes_of_blocks_are_those_of_the_package() -> None:
    for number, name in TENSOR_TYPES.items():
        assert Type(number).name == name
        assert GGML_QUANT_SIZES[Type(number)] == BLOCKS[name]


def with_number(key: str, kind: int, value: bytes, tensors: int = 0) -> bytes:
    """Return the beginning of a file with a single value of metadata."""
    name = struct.pack("<Q", len(key)) + key.encode()
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, 1) + name + struct.pack("<I", kind) + value


def test_types_of_other_authors_files_are_known() -> None:
    """So that a good file is never called damaged."""
    in_computations_only = (Type.Q8_1, Type.Q8_K)
    types = {int(kind): kind.name for kind in Type if kind not in in_computations_only}
    assert types == TENSOR_TYPES


DAMAGED = {
    "no magic": b"GGML" + bytes(60),
    "another version": struct.pack("<4sIQQ", b"GGUF", 9, 0, 0),
    "cut off": struct.pack("<4sIQQ", b"GGUF", 3, 5, 0),
    "a name without end": struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62),
    "lists in lists": struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    + struct.pack("<Qs", 1, b"a")
    + struct.pack("<I", 9)
    + struct.pack("<IQ", 9, 1) * 5000,
    "an alignment of nothing": with_number("general.alignment", 4, struct.pack("<I", 0)),
    "an alignment in words": with_number("general.alignment", 8, struct.pack("<Qs", 1, b"x")),
    "an infinite alignment": with_number("general.alignment", 6, struct.pack("<f", float("inf"))),
    "a list that no file has room for": with_number("a", 9, struct.pack("<IQ", 10, 2**64 - 1)),
    "a list as long as a disk": with_number("a", 9, struct.pack("<IQ", 12, 2**59)),
    "a tensor of many axes": with_number("a", 0, b"\0", 1)
    + struct.pack("<QsI", 1, b"t", 2**31)
    + bytes(8 * 9),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(ResultError, match="not a complete GGUF file"):
        read_headers(path)
