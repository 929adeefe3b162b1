"""swiftbox: a menu-driven terminal launcher for training large models."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["LoRAConfig", "Swift", "__version__"]


def __getattr__(name: str) -> Any:
    """Resolve `Swift` and `LoRAConfig` on first use: importing swiftbox must stay free of torch."""
    if name in ("Swift", "LoRAConfig"):
        from swiftbox.core.tuners import swift

        return getattr(swift, name)
    raise AttributeError(f"module 'swiftbox' has no attribute {name!r}")
