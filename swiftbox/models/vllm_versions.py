"""Versions of vLLM as numbers."""

from __future__ import annotations


def release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; (0, 33) for 0.33.1+cpu, empty for none."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
