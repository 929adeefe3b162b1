"""The tasks a YAML can ask for: one file each, and one explicit table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.tasks.chat import CHAT
from swiftbox.tasks.deploy import DEPLOY
from swiftbox.tasks.download import DOWNLOAD
from swiftbox.tasks.evaluate import EVALUATE
from swiftbox.tasks.merge import MERGE
from swiftbox.tasks.pipeline import PIPELINE
from swiftbox.tasks.quantize import QUANTIZE
from swiftbox.tasks.starter import STARTER
from swiftbox.tasks.task import Task
from swiftbox.tasks.train import TRAIN

TASKS: Mapping[str, Task[Any]] = {
    "train": TRAIN,
    "download": DOWNLOAD,
    "merge": MERGE,
    "quantize": QUANTIZE,
    "evaluate": EVALUATE,
    "deploy": DEPLOY,
    "chat": CHAT,
    "starter": STARTER,
    "pipeline": PIPELINE,
}
