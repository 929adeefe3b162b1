"""Count the operations for which the host must wait for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

READING = (
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_consecutive,
    aten.bincount,
)
"""Their result, or its shape, depends on values: the host reads these first."""

INDEXING = (aten.index, aten.index_put, aten.index_put_)
"""With a mask as the index, they look for its true elements first."""


class HostReads(TorchDispatchMode):
    """Counts reads while it is active; it sees what torch does within a function, too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and run it."""
        arguments = kwargs or {}
        result = func(*args, **arguments)
        packet = func.overloadpacket
        is_copy = packet in (aten._to_copy, aten.copy_) and _crosses(result, args)
        is_masked = packet in INDEXING and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += packet in READING or is_copy or is_masked
        return result


def _crosses(result: Any, inputs: Any) -> bool:
    """Return whether a copy leaves a device for the host."""
    sources = [each.device.type for each in inputs if isinstance(each, torch.Tensor)]
    return bool(sources) and sources[-1] != result.device.type and result.device.type == "cpu"
