"""The tasks of a YAML: one file each, and one explicit table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.lazy import imported
from swiftbox.tasks.task import Task

TASKS: Mapping[str, Task[Any]] = imported(
    "swiftbox.tasks",
    {
        "train": "train:TRAIN",
        "download": "download:DOWNLOAD",
        "starter": "starter:STARTER",
        "merge": "merge:MERGE",
        "extract": "extract:EXTRACT",
        "mix": "mix:MIX",
        "quantize": "quantize:QUANTIZE",
        "evaluate": "evaluate:EVALUATE",
        "deploy": "deploy:DEPLOY",
        "chat": "chat:CHAT",
        "pipeline": "pipeline.task:PIPELINE",
    },
)
