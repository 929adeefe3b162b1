"""The fingerprint of a step: it changes when the step has to run again.

It covers the settings of the step, the files that they name, and which results of earlier steps it
uses. Settings that do not change the result (how often to save or log) are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.pipeline import FILE_KEYS, PipelineStep
from swiftbox.config.references import texts_in
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.fit.candidates import BATCH, PASSES
from swiftbox.tasks.fixed_batches import fixed_micro_batch
from swiftbox.tasks.pipeline.graph import dependencies
from swiftbox.tasks.pipeline.state import StepRecord
from swiftbox.tasks.task import result_neutral_settings

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")

HASHED_BYTES = 64 * 2**20
"""Files other than weights are hashed up to this total; beyond, size and time stand for them."""

USERS_FILES = ("parity.json",)
"""Files that later steps write into the folder of a model, in addition to hidden ones."""

OUTPUT_KEYS = ("local_dir",)
"""Keys that name what a step writes, not what it reads."""


def fingerprint(step: PipelineStep, earlier: Mapping[str, StepRecord]) -> str:
    """Return the fingerprint of a step, given the records of the steps before it."""
    excluded = {*result_neutral_settings(step.config.task), *FILE_KEYS}
    settings = step.config.model_dump(mode="json", exclude=excluded) | _unsplit(step.config)
    inputs = texts_in({key: value for key, value in settings.items() if key not in OUTPUT_KEYS})
    names = sorted(dependencies(step))
    content = {
        "settings": settings,
        "files": {name: identity(Path(name)) for name in sorted(set(inputs)) if is_path(name)},
        "steps": {name: [earlier[name].fingerprint, earlier[name].finished] for name in names},
    }
    plain = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def _unsplit(config: TaskConfig) -> dict[str, int]:
    """Return the rows of an update as one pass: how they are split depends on free memory."""
    if not isinstance(config, TrainConfig) or fixed_micro_batch(config):
        return {}
    return {BATCH: 1, PASSES: config.micro_batch * config.gradient_accumulation_steps}


def is_path(name: str) -> bool:
    """Tell whether a text is the absolute path of something on this machine."""
    return name.startswith("/") and _existing(name) is not None


def identity(path: Path) -> list[Any]:
    """Return what distinguishes the contents of a file or folder from others.

    For each file that is a hash where hashing is fast; for weights and large data it is size and
    modification time.
    """
    root = _existing(str(path))
    if root is None:
        return []
    files = [root] if root.is_file() else _files(root)
    small = {file for file in files if file.suffix not in WEIGHT_SUFFIXES}
    hashes = sum(file.stat().st_size for file in small) <= HASHED_BYTES
    return [
        [str(file.relative_to(root)), *(_hash(file) if hashes and file in small else _times(file))]
        for file in files
    ]


def identities(outputs: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the identity of each output that is a path."""
    return {name: identity(Path(path)) for name, path in outputs.items() if path.startswith("/")}


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder, without hidden ones and those that its users write."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in USERS_FILES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _hash(file: Path) -> list[Any]:
    return [file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()]


def _times(file: Path) -> list[Any]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _existing(name: str) -> Path | None:
    """Return the file or folder of a path that may end in #500; None if there is none."""
    for candidate in (name, name.rpartition("#")[0]):
        if candidate.strip("/") and Path(candidate).exists():
            return Path(candidate)
    return None
