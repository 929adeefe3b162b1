"""Whether a tuner fits the layers of a model, where the names of the weights do not tell.

A child process builds the model without weights, which takes seconds; its answer is kept by what it
depends on. The usual settings are decided by tuner_check.py, without a child.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.architectures.choice import ClassPurpose, ModelClass, find_class
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS, TunerFields
from swiftbox.devices.packages import version_of
from swiftbox.errors import ConfigError
from swiftbox.files import read_json, write_json
from swiftbox.language import cache_home, language
from swiftbox.models.inspection import Inspection
from swiftbox.models.trial_loading import TIMEOUT_S, VARIABLES
from swiftbox.models.weight_names import family_source
from swiftbox.security.children import child_environment, source_command
from swiftbox.tasks.tuner_check import has_plain_names

PROGRAM = """
import sys
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE, hide_packages
from swiftbox.runs.heavy_imports import heavy_imports
hide_packages(BITSANDBYTES | MEDIA | SCIENCE)
with heavy_imports():
    from swiftbox.core.tuners.trial_attach import main
sys.exit(main())
"""
"""The child's program: a package that it does not use and that is broken must not stop it."""


def require_tuner_fits_layers(config: TrainConfig, inspection: Inspection, *, score: bool) -> None:
    """Raise ConfigError if a tuner with unusual settings does not fit the layers of the model.

    A child that fails for another reason says nothing: the training will.
    """
    choice = find_class(inspection.config, ClassPurpose(score=score))
    if not (isinstance(choice, ModelClass) and choice.name and _is_undecided(config, inspection)):
        return
    settings = config.model_dump(mode="json", include=set(TunerFields.model_fields))
    record = cache_home() / "tuners" / f"{_key(inspection, settings, score=score)}.json"
    answer = read_json(record) or _ask(inspection.folder, settings, score=score)
    if not answer:
        return
    with contextlib.suppress(OSError):  # the next check only takes longer
        record.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, answer)
    if answer.get("error"):
        raise ConfigError(str(answer["error"]), hint=str(answer["hint"]))


def _is_undecided(config: TrainConfig, inspection: Inspection) -> bool:
    """Tell whether the names of the weights do not tell if the tuner fits."""
    if config.adapter is not None:
        return False
    is_plain, targets = has_plain_names(inspection), config.target_modules
    if config.tuner_type in FULL_TUNERS:
        selects = config.freeze_parameters or config.trainable_parameters
        return not is_plain and bool(selects or config.tuner_type == "llamapro")
    if config.exclude_modules or config.layers_to_transform or config.target_parameters:
        return True
    if config.tuner_type == "ia3":
        return True
    if targets != "all-linear":
        return not is_plain or (isinstance(targets, str) and not targets.isidentifier())
    source = family_source(inspection.config)
    return (config.tuner_type == "oft" and not is_plain) or "Conv1D(" in source


def _key(inspection: Inspection, settings: Mapping[str, Any], *, score: bool) -> str:
    import hashlib

    versions = [version_of("transformers"), version_of("peft"), language()]
    parts = [versions, score, inspection.config, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _ask(folder: Path, settings: Mapping[str, Any], *, score: bool) -> dict[str, Any]:
    """Return the child's answer; empty if it has none."""
    arguments = [str(folder.resolve()), json.dumps(settings), *(["score"] if score else [])]
    try:
        process = subprocess.run(
            source_command(PROGRAM, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env=child_environment(variables=VARIABLES),
        )
        answer = json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else {}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return answer if isinstance(answer, dict) else {}
