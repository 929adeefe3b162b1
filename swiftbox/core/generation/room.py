"""How much memory a device has left for keys and values."""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.devices import host

OF_MAIN_MEMORY = 0.5
"""Share that a server may take where others work too."""


def free_bytes(device: Any) -> int:
    """Return the bytes that are free on a device; of main memory, a share of them."""
    module = getattr(torch, device.type, None)
    if module is not None and hasattr(module, "mem_get_info"):
        return int(module.mem_get_info(device)[0])
    return int(host.memory()[1] * OF_MAIN_MEMORY)
