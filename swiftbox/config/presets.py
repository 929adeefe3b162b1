"""Finds the preset YAMLs: configs/ of a checkout, else what the wheel installed."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def folder() -> Path:
    """Return the folder that holds the presets."""
    checkout = ROOT / "configs"
    installed = Path(sys.prefix) / "share" / "swiftbox" / "configs"
    return checkout if checkout.is_dir() else installed


def presets() -> dict[str, Path]:
    """Map the name of every preset (`sft-lora`) to its file."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml"))}
