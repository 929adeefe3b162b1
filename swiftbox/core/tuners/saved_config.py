"""The config that PEFT saves beside an adapter, made the same for equal trainings."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = "adapter_config.json"

NAME_LISTS = (
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "feedforward_modules",
    "target_parameters",
)
"""Settings that PEFT holds as sets of names: their order changes from process to process."""


def sort_names(folder: Path) -> None:
    """Sort the names in each adapter config in a folder, or in the folders below it."""
    for path in folder.rglob(CONFIG):
        settings = json.loads(path.read_text("utf-8"))
        for key in NAME_LISTS:
            if isinstance(settings.get(key), list):
                settings[key] = sorted(settings[key])
        # As PEFT writes it.
        path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
