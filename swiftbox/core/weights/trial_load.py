"""Load a model by the headers of its files alone, in a child process, and print what does not fit.

Usage: `python -m swiftbox.core.weights.trial_load FOLDER [score]`.

The class, the renamings and the conversions are those of a real loading; on torch's meta device no
weight is read and nothing is allocated. Code that comes with a model never runs. The output is a
JSON object with the names of weights: missing, unexpected, reshaped. It names config.json as
`incomplete` where weights that are combined at loading, such as those of experts, lack a part.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from swiftbox.architectures.choice import ClassPurpose, require_class
from swiftbox.core.weights.load_errors import CONVERSION
from swiftbox.core.weights.placement import faults_of, tensor_files


def main() -> int:
    """Print what does not fit in the folder on the command line."""
    disable_progress_bar()
    set_verbosity_error()
    try:
        report = trial_load(Path(sys.argv[1]), score="score" in sys.argv[2:])
    except RuntimeError as error:
        if CONVERSION not in str(error):
            raise
        report = {"incomplete": ["config.json"]}
    sys.stdout.write("\n" + json.dumps(report) + "\n")
    return 0


def trial_load(folder: Path, *, score: bool = False) -> dict[str, Any]:
    """Return the names of the weights that do not fit, each kind sorted."""
    choice = require_class(folder, ClassPurpose(score=score))
    settings = {"num_labels": 1} if score else {}
    config = AutoConfig.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True, **settings
    )
    loader = getattr(transformers, choice.loader)
    model_class = loader._model_mapping[type(config)]
    model, report = model_class.from_pretrained(
        None,
        config=config,
        state_dict=headers_as_tensors(folder),
        device_map={"": "meta"},
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    missing, unexpected = faults_of(folder, model, report, score=score)
    reshaped = sorted(name for name, *_shapes in report["mismatched_keys"])
    return {"missing": missing, "unexpected": unexpected, "reshaped": reshaped}


def headers_as_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return a tensor without values for each tensor of a folder."""
    tensors = {}
    for path in sorted(set(tensor_files(folder).values())):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                shape = file.get_slice(name).get_shape()
                tensors[name] = torch.empty(shape, device="meta")
    return tensors


if __name__ == "__main__":
    sys.exit(main())
