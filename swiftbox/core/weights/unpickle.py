"""Rewrite the pickled weights of an adapter as safetensors, in a process that has nothing to lose.

Usage: `python -m swiftbox.core.weights.unpickle SOURCE TARGET`. Writes one line of JSON: the dtype
and shape of each tensor by name, or what is wrong. torch builds tensors from a pickle and refuses
everything else in it (`weights_only`), so none of its code runs. Memory, processor time and the
size of the target are limited all the same: they follow from the size of the source.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

COPIES = 4
"""Of the file in memory: mapped, as tensors, as contiguous ones, and as bytes to write."""

SPARE_BYTES = 2**30
"""What torch takes to read a pickle, and the header of the target."""

CPU_S = 60
BYTES_PER_CPU_SECOND = 20 * 2**20
"""Slower than any disk or processor on which torch starts."""

FORBIDDEN = re.compile(r"GLOBAL (\S{1,200})")
"""The function or class that a refused pickle names, in torch's error."""

Report = dict[str, Any]


def main() -> int:
    """Convert the file named on the command line."""
    source, target = map(Path, sys.argv[1:3])
    limit_process(source.stat().st_size)
    sys.stdout.write("\n" + json.dumps(convert(source, target)) + "\n")
    return 0


def limit_process(size: int) -> None:
    """Limit what this process takes from now on, for a file of this size."""
    import resource

    seconds = CPU_S + size // BYTES_PER_CPU_SECOND
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: size + SPARE_BYTES,
        resource.RLIMIT_CPU: seconds + round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])),
    }
    with contextlib.suppress(OSError):  # Linux alone says how much is mapped already
        mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        limits[resource.RLIMIT_AS] = mapped * resource.getpagesize() + COPIES * size + SPARE_BYTES
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            with contextlib.suppress(ValueError, OSError):  # some systems lack some limits
                resource.setrlimit(kind, (limit, hard))


def convert(source: Path, target: Path) -> Report:
    """Write the tensors of a pickle; return them by name, or the problem and its detail."""
    try:
        content = torch.load(
            source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source)
        )
    except pickle.UnpicklingError as error:  # torch's text advises to load it with its code
        name = FORBIDDEN.search(str(error))
        return {"problem": "unsafe", "detail": name[1]} if name else {"problem": "damaged"}
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        return {"problem": "unreadable", "detail": _first_line(error)}
    except (OSError, MemoryError, IndexError, AssertionError, RecursionError) as error:
        return {"problem": "unreadable", "detail": _first_line(error)}
    if fault := _fault_of(content, source.stat().st_size):
        return fault
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in content.items()}
    save_file(tensors, target, metadata={"format": "pt"})
    changed = _changed(tensors, target)
    if changed:
        return {"problem": "changed", "detail": changed}
    shapes = {name: [str(t.dtype), list(t.shape)] for name, t in tensors.items()}
    return {"tensors": shapes}


def _fault_of(content: Any, size: int) -> Report | None:
    """Return why a content is not a table of plain tensors that the file has room for."""
    if not isinstance(content, Mapping) or not content:
        return {"problem": "content", "detail": type(content).__name__}
    for name, tensor in content.items():
        is_plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
        if not isinstance(name, str) or not is_plain or not _is_dense(tensor):
            return {"problem": "content", "detail": f"{name!s:.80}: {type(tensor).__name__}"}
    total = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    if total > size:  # views of the same bytes
        return {"problem": "size", "detail": str(total)}
    return None


def _is_dense(tensor: torch.Tensor) -> bool:
    is_stored = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return is_stored and tensor.is_floating_point() and not tensor.is_quantized


def _changed(tensors: Mapping[str, torch.Tensor], target: Path) -> str:
    """Return the name of a tensor whose bytes in the file differ; empty if all are equal."""
    with safe_open(target, framework="pt") as file:
        if set(file.keys()) != set(tensors):
            return ", ".join(sorted(set(file.keys()) ^ set(tensors)))
        for name, tensor in tensors.items():
            written = file.get_tensor(name)
            is_same = written.dtype == tensor.dtype and written.shape == tensor.shape
            if not is_same or not torch.equal(_bytes_of(written), _bytes_of(tensor)):
                return name
    return ""


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor: NaN is not equal to itself."""
    return tensor.reshape(-1).view(torch.uint8)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}"


if __name__ == "__main__":
    sys.exit(main())
