"""Weight files judged by their safetensors headers: whether they are complete, and their dtype."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.language import text
from swiftbox.models.metadata import MetadataError, open_weights, read_object, shown

INDEX = "model.safetensors.index.json"
PICKLE_INDEX = "pytorch_model.bin.index.json"
SINGLE_FILE = "model.safetensors"
"""The file that is loaded where there is no index."""

MAX_HEADER_BYTES = 32 * 2**20
"""Some 250,000 tensors; the largest published files have a tenth of that."""

MAX_DIMENSIONS = 32

DTYPE_BITS: Mapping[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits per element by the dtype names of safetensors 0.8."""


@dataclass
class WeightFiles:
    """The state of a folder's weight files; `broken` maps each bad file to its defect."""

    expected: int = 0
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    absent_tensors: list[str] = field(default_factory=list)
    """Tensors that the index lists and no file contains."""
    repeated_tensors: list[str] = field(default_factory=list)
    """Tensors that two files contain."""
    unlisted: list[str] = field(default_factory=list)
    """Weight files that are never loaded: there is neither an index nor `model.safetensors`."""
    has_two_versions: bool = False
    """Whether `model.safetensors` would be loaded in place of the files that an index names."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """The dtype and shape of every tensor."""
    dtypes: Counter[str] = field(default_factory=Counter)
    """Bytes by dtype, in the format's names: BF16, F16, F32, F8_E4M3, I32, ..."""
    index_error: str | None = None
    pickles: list[str] = field(default_factory=list)

    @property
    def main_dtype(self) -> str | None:
        """Return the dtype of most bytes."""
        return self.dtypes.most_common(1)[0][0] if self.dtypes else None

    @property
    def is_complete(self) -> bool:
        """Return whether every file is there and has a sound header."""
        return bool(self.expected) and not (self.missing or self.broken or self.index_error)


def read_weights(folder: Path) -> WeightFiles:
    """Compare a folder's weight files with its index, and each file's length with its header."""
    files = WeightFiles()
    files.pickles = sorted(
        path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind)
    )
    try:
        index = read_index(folder / INDEX)
    except FileNotFoundError:
        index = {}
    except ValueError as error:
        files.index_error = str(error)
        return files
    names = _loaded_names(folder, index)
    if names and names != [SINGLE_FILE] and not index:
        files.unlisted = names
    files.has_two_versions = (
        bool(index) and names != [SINGLE_FILE] and _exists(folder / SINGLE_FILE)
    )
    files.expected = len(names)
    for name in names:
        _check_file(folder, name, files)
    if not files.missing and not files.broken:
        files.absent_tensors = sorted(set(index) - set(files.tensors))
    return files


def _loaded_names(folder: Path, index: Mapping[str, str]) -> list[str]:
    """Return an index's files, else the single file, else all, which are not loaded."""
    if not index and _exists(folder / SINGLE_FILE):
        return [SINGLE_FILE]
    return sorted(set(index.values())) or sorted(path.name for path in folder.glob("*.safetensors"))


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def read_index(index: Path) -> dict[str, str]:
    """Return the file of each tensor in an index.

    Raises FileNotFoundError, or ValueError for an invalid index and for a file outside its folder.
    """
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise MetadataError(text("no weight_map", "没有 weight_map"))
    for file in set(map(str, weight_map.values())):
        if os.sep in file or "\0" in file or file in ("", ".", ".."):
            raise MetadataError(
                text(
                    f"weight_map names {shown(file)}, which is not a file of this folder",
                    f"weight_map 中的 {shown(file)} 不是本目录中的文件",
                )
            )
    if not all(isinstance(file, str) for file in weight_map.values()):
        raise MetadataError(text("weight_map does not name files", "weight_map 中不是文件名"))
    return weight_map


def _check_file(folder: Path, name: str, files: WeightFiles) -> None:
    """Record what is wrong with one file, and its tensors."""
    path = folder / name
    try:
        tensors, expected_bytes = read_header(path)
    except FileNotFoundError:
        files.missing.append(name)
        return
    except ValueError as error:
        files.broken[name] = str(error)
        return
    size = path.stat().st_size
    if size != expected_bytes:
        files.broken[name] = wrong_length(size, expected_bytes)
    files.repeated_tensors += sorted(set(tensors) & set(files.tensors))
    for tensor_name, tensor in tensors.items():
        first, last = tensor["data_offsets"]
        files.dtypes[tensor["dtype"]] += last - first
        files.tensors[tensor_name] = tensor["dtype"], tuple(tensor["shape"])


def wrong_length(size: int, expected_bytes: int) -> str:
    """Say that a file does not have the length that its header states."""
    return text(f"{size:,} of {expected_bytes:,} bytes", f"{size:,} / {expected_bytes:,} 个字节")


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensors of a safetensors file and its expected size in bytes.

    Raises FileNotFoundError, or ValueError for what is not a regular file and for an invalid
    header: tensors that overlap, leave gaps, or whose bytes do not match their shape.
    """
    with open_weights(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= MAX_HEADER_BYTES:
            raise MetadataError(text("not a safetensors header", "不是 safetensors 文件头"))
        if size < 8 + length:
            message = f"{size:,} bytes, less than its header", f"{size:,} 个字节，小于文件头"
            raise MetadataError(text(*message))
        content = file.read(length)
    return _tensors_of(content, 8 + length)


def _tensors_of(header: bytes, begins: int) -> tuple[dict[str, Any], int]:
    try:
        tensors = json.loads(header.decode("utf-8"), object_pairs_hook=_without_repeats)
    except RecursionError:
        raise MetadataError(text("its header is nested too deeply", "文件头嵌套层次过深")) from None
    except MetadataError:
        raise
    except ValueError as error:
        message = f"its header is not JSON: {error}", f"文件头不是 JSON：{error}"
        raise MetadataError(text(*message)) from None
    if not isinstance(tensors, dict):
        raise MetadataError(text("its header is not a JSON object", "文件头不是 JSON 对象"))
    notes = tensors.pop("__metadata__", None) or {}
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        message = "its __metadata__ holds something other than texts", "__metadata__ 中有非文本的值"
        raise MetadataError(text(*message))
    spans = sorted(_span(name, tensor) for name, tensor in tensors.items())
    end = 0
    for first, last, name in spans:
        if first != end:
            overlaps = first < end
            raise MetadataError(
                text(
                    f"tensor {name} {'overlaps another' if overlaps else 'follows a gap'}",
                    f"张量 {name} {'与其他张量重叠' if overlaps else '之前有空隙'}",
                )
            )
        end = last
    return tensors, begins + end


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        name = Counter(name for name, _value in pairs).most_common(1)[0][0]
        message = f"its header lists {name} twice", f"文件头中 {name} 出现了两次"
        raise MetadataError(text(*message))
    return content


def _span(name: str, tensor: Any) -> tuple[int, int, str]:
    """Return the offsets of a tensor in bytes; raise MetadataError if its entry is invalid."""
    try:
        bits, shape = DTYPE_BITS.get(tensor["dtype"]), tensor["shape"]
        first, last = tensor["data_offsets"]
    except (KeyError, TypeError, ValueError):
        message = (
            f"tensor {name} lacks dtype, shape or offsets",
            f"张量 {name} 缺少类型、形状或偏移",
        )
        raise MetadataError(text(*message)) from None
    if bits is None:
        dtype = shown(tensor["dtype"])
        message = f"tensor {name} has the unknown dtype {dtype}", f"张量 {name} 的类型 {dtype} 未知"
        raise MetadataError(text(*message))
    numbers = [*shape, first, last] if isinstance(shape, list) else [None]
    is_sound = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    if not is_sound or len(numbers) > MAX_DIMENSIONS + 2:
        entry = shown(tensor)
        message = f"tensor {name} has an invalid entry {entry}", f"张量 {name} 的记录 {entry} 无效"
        raise MetadataError(text(*message))
    if (last - first) * 8 != math.prod(shape) * bits:
        raise MetadataError(
            text(
                f"tensor {name}: {last - first:,} bytes do not hold {tensor['dtype']} {shape}",
                f"张量 {name}：{last - first:,} 个字节与 {tensor['dtype']} {shape} 不符",
            )
        )
    return first, last, name
