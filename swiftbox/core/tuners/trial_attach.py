"""Try a tuner on a model without weights, in a child process, and print why it does not fit.

Usage: `python -m swiftbox.core.tuners.trial_attach FOLDER SETTINGS [score]`.

SETTINGS are the tuner's fields as JSON. The layers are those of the class that is trained, on
torch's meta device, where nothing is allocated; code that comes with a model never runs. The output
is a JSON object: `error` and `hint`, both empty if the tuner fits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from swiftbox.architectures.choice import ClassPurpose, require_class
from swiftbox.config.tuners import FULL_TUNERS, TunerFields
from swiftbox.core.tuners.attach import AdapterStart, new_adapter_config
from swiftbox.core.tuners.full import freeze
from swiftbox.core.tuners.llamapro import expandable_blocks
from swiftbox.errors import UserError


def main() -> int:
    """Print what does not fit."""
    disable_progress_bar()
    set_verbosity_error()
    folder, settings, *options = sys.argv[1:]
    model = layers_of(Path(folder), score="score" in options)
    answer = {"error": "", "hint": ""}
    try:
        try_tuner(model, TunerFields(**json.loads(settings)))
    except UserError as error:
        answer = {"error": error.message, "hint": error.hint}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


def layers_of(folder: Path, *, score: bool) -> Any:
    """Return the model that a training of the folder loads, without weights."""
    choice = require_class(folder, ClassPurpose(score=score))
    settings = {"num_labels": 1} if score else {}
    config = AutoConfig.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True, **settings
    )
    with torch.device("meta"):
        return getattr(transformers, choice.loader).from_config(config, trust_remote_code=False)


def try_tuner(model: Any, config: TunerFields) -> None:
    """Raise ConfigError if the settings of a tuner do not fit the layers of a model."""
    if config.tuner_type == "llamapro":
        expandable_blocks(model, config.llamapro_num_new_blocks)
    elif config.tuner_type in FULL_TUNERS:
        freeze(model, config)
    else:
        new_adapter_config(model, config, AdapterStart(), _ignored)


def _ignored(_note: str) -> None:
    """Ignore a note; the training says it."""


if __name__ == "__main__":
    sys.exit(main())
