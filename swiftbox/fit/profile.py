"""A model's profile: from its config.json, its row in the catalogue, or the size in its name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from swiftbox.fit.attention_traits import traits_in_name, traits_of_type
from swiftbox.fit.shape import ModelShape, guess_shape, shape_from_dimensions, shape_of_config
from swiftbox.fit.skeleton import skeleton_shape
from swiftbox.models.catalogue import Model
from swiftbox.models.catalogue import model as row_of

BYTES_PER_PARAMETER: dict[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2}
SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:[._]\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelProfile:
    """A model's shape, whether its dimensions are exact, and whether its files are local."""

    shape: ModelShape
    exact: bool
    local: bool
    quantized: str = ""


def profile_model(model: str, *, ask: bool = True) -> ModelProfile | None:
    """Return the profile of a folder or a hub id; None if not even its size is known.

    `ask`: whether to start a child process, which takes seconds, for an unusual config.json.
    """
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return _profile_of_folder(folder, ask=ask)
    row = row_of(model)
    if row is not None:
        return profile_of_row(row)
    size = size_in_name(model)
    if not size:
        return None
    shape = replace(guess_shape(size), **traits_in_name(model))
    return ModelProfile(shape, exact=False, local=False)


def profile_of_row(row: Model) -> ModelProfile | None:
    """Return the profile of a row of the catalogue; None without a size."""
    if not row.params_b:
        return None
    params = row.params_b * 1e9
    active = row.active_params_b * 1e9 if row.active_params_b else None
    quantized = "" if row.quant == "none" else row.quant
    traits = traits_of_type(row.model_type)
    if not row.dims:
        shape = replace(guess_shape(active or params), params=params, active=active, **traits)
        return ModelProfile(shape, exact=False, local=False, quantized=quantized)
    shape = shape_from_dimensions({**row.dims, **traits}, params=params, active=active)
    return ModelProfile(shape, exact=True, local=False, quantized=quantized)


def size_in_name(name: str) -> float | None:
    """Return the number of parameters in a name: 7B, 0.5b, 1_8b, 360M."""
    match = SIZE.search(name.rsplit("/", 1)[-1])
    if match is None:
        return None
    return float(match[1].replace("_", ".")) * (1e9 if match[2].lower() == "b" else 1e6)


def _profile_of_folder(folder: Path, *, ask: bool) -> ModelProfile | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # reported by the inspection of the folder
    if not isinstance(config, dict):
        return None
    quantization = config.get("quantization_config")
    quantized = str(quantization.get("quant_method", "")) if isinstance(quantization, dict) else ""
    files = [path for path in folder.glob("*.safetensors") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    bytes_each = BYTES_PER_PARAMETER.get(str(config.get("dtype") or config.get("torch_dtype")), 0)
    params = size / bytes_each if size and bytes_each and not quantized else None
    shape = shape_of_config(config, params) or skeleton_shape(folder, config, params, ask=ask)
    if shape is None:
        if params is None:
            return None
        return ModelProfile(guess_shape(params), exact=False, local=True, quantized=quantized)
    return ModelProfile(shape, exact=True, local=True, quantized=quantized)
