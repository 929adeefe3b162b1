"""Weight files judged by their safetensors headers: whether they are complete, and their dtype."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
PICKLE_INDEX = "pytorch_model.bin.index.json"
MAX_HEADER_BYTES = 100_000_000
"""The limit of the format; a larger length is not a header."""


@dataclass
class WeightFiles:
    """The state of a folder's weight files; `broken` maps each bad file to its defect."""

    expected: int = 0
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    absent_tensors: list[str] = field(default_factory=list)
    """Tensors that the index lists and no file contains."""
    dtypes: Counter[str] = field(default_factory=Counter)
    """Bytes by dtype, in the format's names: BF16, F16, F32, F8_E4M3, I32, ..."""
    index_error: str | None = None
    pickles: list[str] = field(default_factory=list)

    @property
    def main_dtype(self) -> str | None:
        """Return the dtype of most bytes."""
        return self.dtypes.most_common(1)[0][0] if self.dtypes else None


def read_weights(folder: Path) -> WeightFiles:
    """Compare a folder's weight files with its index, and each file's length with its header."""
    files = WeightFiles()
    files.pickles = sorted(
        path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind)
    )
    index: dict[str, str] = {}
    if (folder / INDEX).is_file():
        try:
            index = read_index(folder / INDEX)
        except ValueError as error:
            files.index_error = str(error)
            return files
    names = sorted(set(index.values())) or sorted(
        path.name for path in folder.glob("*.safetensors")
    )
    files.expected = len(names)
    present: set[str] = set()
    for name in names:
        present |= _check_file(folder, name, files)
    if not files.missing and not files.broken:
        files.absent_tensors = sorted(set(index) - present)
    return files


def read_index(index: Path) -> dict[str, str]:
    """Return the file of each tensor in an index; raise ValueError for an invalid index."""
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except OSError as error:
        raise ValueError(error.strerror) from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError("no weight_map") from None
    if not all(isinstance(file, str) for _, file in entries):
        raise ValueError("weight_map does not name files")
    return dict(entries)


def _check_file(folder: Path, name: str, files: WeightFiles) -> set[str]:
    """Record what is wrong with one file; return the names of its tensors."""
    path = folder / name
    if not path.is_file():
        files.missing.append(name)
        return set()
    try:
        tensors, expected_bytes = read_header(path)
    except (ValueError, OSError, KeyError, TypeError) as error:
        files.broken[name] = str(error)
        return set()
    size = path.stat().st_size
    if size != expected_bytes:
        files.broken[name] = f"{size:,} of {expected_bytes:,} bytes"
    for tensor in tensors.values():
        first, last = tensor["data_offsets"]
        files.dtypes[tensor["dtype"]] += last - first
    return set(tensors)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensors of a safetensors file and its expected size in bytes; raise ValueError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= MAX_HEADER_BYTES:
            raise ValueError("not a safetensors header")
        content = file.read(length)
    if len(content) < length:
        raise ValueError(f"{8 + len(content):,} bytes, less than its header")
    tensors = json.loads(content)
    tensors.pop("__metadata__", None)
    ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
    return tensors, 8 + length + max(ends, default=0)
