"""Which Python can load the weights of a model: ours, or that of the engine that writes such files.

Quantized weights are loaded by the package that made them. It is in our environment if the user has
installed it there; otherwise the builtin server runs in the engine that quantizes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.files import read_json
from swiftbox.models.inspection import loader_missing

ENGINES: Mapping[str, str] = {"gptq": "gptq", "awq": "gptq", "compressed-tensors": "compress"}
"""The engine that loads each `quant_method` of config.json."""


@dataclass(frozen=True)
class Opener:
    """The Python that loads a model."""

    engine: str = ""
    """The engine whose Python it is; empty for ours."""
    lacking: str = ""
    """The package that it would need, where neither our environment nor an engine has it."""


def opener_of(folder: Path) -> Opener:
    """Return the Python that loads the model of a folder."""
    return opener_for(read_json(folder / "config.json"))


def opener_for(config: Mapping[str, Any]) -> Opener:
    """Return the Python that loads a model with such a config.json."""
    package = loader_missing(config)
    quantization = config.get("quantization_config")
    if not package and not _has_packed_zero_points(quantization):
        return Opener()
    method = quantization.get("quant_method") if isinstance(quantization, dict) else ""
    engine = ENGINES.get(str(method), "")
    return Opener(engine) if engine else Opener(lacking=package)


def _has_packed_zero_points(quantization: Any) -> bool:
    """Tell whether the zero points are packed as the weights are, such as in W4A16_ASYM.

    transformers 5.23, which is ours, expects them unpacked; that of the engine reads them.
    """
    if not isinstance(quantization, dict) or quantization.get("format") != "pack-quantized":
        return False
    groups = quantization.get("config_groups")
    rows = groups.values() if isinstance(groups, dict) else ()
    weights = [row.get("weights") for row in rows if isinstance(row, dict)]
    return any(isinstance(row, dict) and row.get("symmetric") is False for row in weights)
