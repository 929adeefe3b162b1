"""Rows that are held out by name (`val_dataset`): their errors name the setting they are under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swiftbox.errors import DataError

KEY = "val_dataset"


@contextmanager
def errors_under(key: str) -> Iterator[None]:
    """Put a setting in front of the DataErrors about its rows, in place of `dataset`."""
    try:
        yield
    except DataError as error:
        message = error.message
        for colon in (": ", "："):
            message = message.removeprefix(f"dataset{colon}").removeprefix(f"{key}{colon}")
        raise DataError(f"{key}: {message}", hint=error.hint) from None
