"""Import torch and the libraries on it without a search for garbage meanwhile."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Import large libraries here; later searches for garbage leave out what they made.

    Imports leave no garbage, and searching their 500,000 objects for it takes a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
