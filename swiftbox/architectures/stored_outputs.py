"""What the outputs of a stored classifier mean, by its config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.architectures.choice import stored_head
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.security.printable import printable

DEFAULT_OUTPUTS = 2
"""transformers' number of outputs where a config.json does not say it."""

MOST_SHOWN = 5
"""Outputs that a message lists."""


def stored_outputs(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of a classifier's outputs in their order; None for other models."""
    if stored_head(config) != "score":
        return None
    names, count = config.get("id2label"), config.get("num_labels")
    if isinstance(names, dict) and names:
        numbers = [str(number) for number in range(len(names))]
        return tuple(str(names.get(number, f"LABEL_{number}")) for number in numbers)
    outputs = count if type(count) is int and 0 < count < 100_000 else DEFAULT_OUTPUTS
    return tuple(f"LABEL_{number}" for number in range(outputs))


def require_outputs(folder: Path, outputs: int) -> None:
    """Raise ConfigError if a folder holds a classifier with another number of outputs."""
    names = stored_outputs(read_json(folder / "config.json"))
    if names is not None and len(names) != outputs:
        raise _other_outputs(folder, names, outputs)


def _other_outputs(folder: Path, names: Sequence[str], outputs: int) -> ConfigError:
    listed = ", ".join(printable(name[:40]) for name in names[:MOST_SHOWN])
    listed += ", ..." if len(names) > MOST_SHOWN else ""
    return ConfigError(
        text(
            f"model: {folder} is a classifier with {len(names)} outputs ({listed}), and this "
            f"training needs {outputs}",
            f"model：{folder} 是有 {len(names)} 个输出的分类器（{listed}），而本次训练需要 "
            f"{outputs} 个",
        ),
        hint=text(
            "set model to the model that it was trained from, which has no such head",
            "请将 model 设为其训练所用的原模型，它没有该输出头",
        ),
    )
