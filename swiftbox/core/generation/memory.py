"""How much memory a device has left for keys and values."""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.devices import host

HOST_SHARE = 0.5
"""Share of the free main memory that a server may take, since other programs use it too."""


def free_bytes(device: Any) -> int:
    """Return the free bytes of a device; of main memory, the share that a server may take."""
    module = getattr(torch, device.type, None)
    if module is not None and hasattr(module, "mem_get_info"):
        return int(module.mem_get_info(device)[0])
    return int(host.memory()[1] * HOST_SHARE)
