"""swiftbox: a menu-driven terminal launcher for training large models."""

from swiftbox.security.search_path import drop_current_folder

drop_current_folder()  # before any import that could come from there

from typing import Any  # noqa: E402 - the search path comes first

__version__ = "0.1.0"
__all__ = ["LoRAConfig", "Swift", "__version__"]


def __getattr__(name: str) -> Any:
    """Resolve `Swift` and `LoRAConfig` on first use: importing swiftbox must stay free of torch."""
    if name in ("Swift", "LoRAConfig"):
        from swiftbox.core.tuners import swift

        return getattr(swift, name)
    raise AttributeError(f"module 'swiftbox' has no attribute {name!r}")
