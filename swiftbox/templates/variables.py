"""The template variables of a training, which its result is used with unless others are set.

A training leaves them in the record that servers are compared with; merged and quantized models
carry a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.conversations import RESERVED_VARIABLES
from swiftbox.files import read_json
from swiftbox.templates.template import plain

RECORD_FILE = "parity.json"
"""In the folder of a model or an adapter."""

KEY = "chat_template_kwargs"
"""The variables in the record, and in the requests to a server."""


def trained_variables(folder: Path) -> dict[str, Any]:
    """Return the template variables that a model or an adapter was trained with."""
    variables = read_json(folder / RECORD_FILE).get(KEY)
    if not isinstance(variables, dict):
        return {}
    return {name: plain(value) for name, value in variables.items() if allowed(name)}


def served_variables(
    folder: Path, base_folder: Path, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the variables that a served model renders with: its training's, then the settings.

    Those of an adapter without a record are those of its base.
    """
    source = folder if (folder / RECORD_FILE).is_file() else base_folder
    return {**trained_variables(source), **settings}


def allowed(name: str) -> bool:
    """Whether a variable may be set; the others say what is rendered, not how."""
    return name not in RESERVED_VARIABLES


def written(variables: Mapping[str, Any]) -> str:
    """Return variables as a person writes them in YAML."""
    return ", ".join(f"{name}: {_written(value)}" for name, value in variables.items())


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
