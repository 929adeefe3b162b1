"""Finds the preset YAMLs: configs/ of a checkout, else the copies inside the wheel."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def folder() -> Path:
    """Return the folder that holds the presets."""
    checkout = HERE.parent / "configs"
    return checkout if checkout.is_dir() else HERE / "presets"


def presets() -> dict[str, Path]:
    """Map the name of every preset (`sft-lora`) to its file."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml"))}
