"""The preset YAMLs: configs/ of a checkout, else the files that the wheel installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from swiftbox.config.task import TaskConfig
from swiftbox.language import text

ROOT = Path(__file__).resolve().parents[2]

EXAMPLE_ADAPTER = "runs/my-lora"
"""The path in presets that the user replaces by an adapter."""

Config = TypeVar("Config", bound=TaskConfig)


def folder() -> Path:
    """Return the folder that holds the presets."""
    checkout = ROOT / "configs"
    installed = Path(sys.prefix) / "share" / "swiftbox" / "configs"
    return checkout if checkout.is_dir() else installed


def presets() -> dict[str, Path]:
    """Map the name of every preset (`sft-lora`) to its file."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml"))}


def description(preset: Path) -> str:
    """Return what a preset does: its first line in English, its second in Chinese."""
    english, chinese = preset.read_text(encoding="utf-8").splitlines()[:2]
    return text(english.lstrip("# "), chinese.lstrip("# "))


def without_example_adapter(config: Config, overrides: Iterable[str]) -> Config:
    """Drop the example adapter of a preset once the user names a model or a server instead."""
    if getattr(config, "adapter", None) != EXAMPLE_ADAPTER:
        return config
    if type(config).model_fields["adapter"].is_required():
        return config
    if any(override.startswith("adapter") for override in overrides):
        return config
    named = (getattr(config, "model", None), getattr(config, "endpoint", None))
    return config if named == (None, None) else config.model_copy(update={"adapter": None})
