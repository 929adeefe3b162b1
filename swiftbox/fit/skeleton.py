"""The shape of a model whose config.json has unusual keys: a child process builds a skeleton of it.

The result is cached, so that only the first estimate waits for torch to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftbox.architectures.tables import known_types
from swiftbox.fit.shape import ModelShape, shape_from_dimensions
from swiftbox.language import text
from swiftbox.runs.asked_child import ChildQuestion

BUILD = "swiftbox.core.weights.skeleton"
"""The module that builds it."""


def skeleton_shape(
    folder: Path, config: dict[str, Any], params: float | None, *, ask: bool = True
) -> ModelShape | None:
    """Return the shape of a folder's model; None if it cannot be built without remote code.

    `params`, counted from the weight files, takes precedence over the config. Without `ask` no
    child process is started and only cached shapes are returned.
    """
    types = known_types()
    if types is None or config.get("model_type") not in types:
        return None
    config_text = (folder / "config.json").read_bytes().decode(errors="backslashreplace")
    arguments = [str(folder.resolve())]
    question = ChildQuestion(BUILD, arguments, "shapes", config_text, purpose=_purpose())
    dimensions = question.answer(ask=ask)
    if not dimensions:
        return None
    return shape_from_dimensions(dimensions, params=params or float(dimensions["params"]))


def _purpose() -> str:
    return text("reading the dimensions of the model", "正在读取模型的结构尺寸")
