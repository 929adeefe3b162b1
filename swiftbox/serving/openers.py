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
    if not package:
        return Opener()
    engine = ENGINES.get(str(config["quantization_config"]["quant_method"]), "")
    return Opener(engine) if engine else Opener(lacking=package)
