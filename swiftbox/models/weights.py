"""What the headers of safetensors files tell: whether weights are whole, and their dtype."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
PICKLE_INDEX = "pytorch_model.bin.index.json"
LONGEST_HEADER = 100_000_000
"""The limit of the format itself; more is no header."""


@dataclass
class WeightFiles:
    """What a folder's weight files are like; `broken` says of each bad file what is wrong."""

    expected: int = 0
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    absent_tensors: list[str] = field(default_factory=list)
    """Tensors that the index promises and no file holds."""
    dtypes: Counter[str] = field(default_factory=Counter)
    """Bytes by dtype, as the format names them: BF16, F16, F32, F8_E4M3, I32, ..."""
    index_error: str | None = None
    pickles: list[str] = field(default_factory=list)

    @property
    def main_dtype(self) -> str | None:
        """The dtype of most bytes."""
        return self.dtypes.most_common(1)[0][0] if self.dtypes else None


def read_weights(folder: Path) -> WeightFiles:
    """Hold a folder's weight files against its index and each file's length against its header."""
    found = WeightFiles()
    found.pickles = sorted(
        path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind)
    )
    promised: dict[str, str] = {}
    if (folder / INDEX).is_file():
        try:
            promised = read_index(folder / INDEX)
        except ValueError as error:
            found.index_error = str(error)
            return found
    names = sorted(set(promised.values())) or sorted(
        path.name for path in folder.glob("*.safetensors")
    )
    found.expected = len(names)
    here: set[str] = set()
    for name in names:
        here |= _look_at(folder, name, found)
    if not found.missing and not found.broken:
        found.absent_tensors = sorted(set(promised) - here)
    return found


def read_index(index: Path) -> dict[str, str]:
    """Return the file of each tensor that an index names; raise ValueError for what is none."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except OSError as error:
        raise ValueError(error.strerror) from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError("no weight_map") from None
    if not all(isinstance(file, str) for _, file in named):
        raise ValueError("weight_map names no files")
    return dict(named)


def _look_at(folder: Path, name: str, found: WeightFiles) -> set[str]:
    """Note what is wrong with one file; return the names of its tensors."""
    path = folder / name
    if not path.is_file():
        found.missing.append(name)
        return set()
    try:
        tensors, wanted_bytes = read_header(path)
    except (ValueError, OSError, KeyError, TypeError) as error:
        found.broken[name] = str(error)
        return set()
    size = path.stat().st_size
    if size != wanted_bytes:
        found.broken[name] = f"{size:,} of {wanted_bytes:,} bytes"
    for one in tensors.values():
        first, last = one["data_offsets"]
        found.dtypes[one["dtype"]] += last - first
    return set(tensors)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensors of a safetensors file and the bytes it should have; raise ValueError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= LONGEST_HEADER:
            raise ValueError("no safetensors header")
        content = file.read(length)
    if len(content) < length:
        raise ValueError(f"{8 + len(content):,} bytes, less than its header")
    tensors = json.loads(content)
    tensors.pop("__metadata__", None)
    ends = [one["data_offsets"][1] for one in tensors.values()]
    return tensors, 8 + length + max(ends, default=0)
