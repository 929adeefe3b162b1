"""Load a model by the headers of its files alone, in a child process, and print what does not fit.

Usage: `python -m swiftbox.core.weights.trial_load FOLDER [score]`.

The class, the renamings and the conversions are those of a real loading; on torch's meta device no
weight is read and nothing is allocated. Code that comes with a model never runs. The output is a
JSON object with the names of weights: missing, unexpected, reshaped. It names config.json as
`incomplete` where weights that are combined at loading, such as those of experts, lack a part;
`broken` is the error of a library that cannot make the class, `lacking` that of a package that is
not installed.
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
from swiftbox.core.weights.load_errors import CONVERSION, READING_ERRORS
from swiftbox.core.weights.placement import faults_of, weight_files
from swiftbox.runs.asked_child import NOT_KEPT
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE

HIDDEN = BITSANDBYTES | MEDIA | SCIENCE
"""Packages that runs/asked_child.py hides."""


def main() -> int:
    """Print what does not fit in the folder on the command line."""
    disable_progress_bar()
    set_verbosity_error()
    report = report_on(Path(sys.argv[1]), score="score" in sys.argv[2:])
    sys.stdout.write("\n" + json.dumps(report) + "\n")
    return 0


def report_on(folder: Path, *, score: bool = False) -> dict[str, list[str]]:
    """Return what does not fit, and what prevents the loading."""
    try:
        return trial_load(folder, score=score)
    except ImportError as error:
        if any(name in str(error) for name in HIDDEN):
            raise  # the run may use what is hidden here
        return {NOT_KEPT: [_line(error)]}
    except READING_ERRORS as error:
        return {"broken": [_line(error)]}
    except RuntimeError as error:
        if CONVERSION not in str(error):
            raise
        return {"incomplete": ["config.json"]}


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def trial_load(folder: Path, *, score: bool = False) -> dict[str, list[str]]:
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
    return {
        name: torch.empty(tensor["shape"], device="meta")
        for path in weight_files(folder)
        for name, tensor in _header(path).items()
    }


def _header(path: Path) -> dict[str, Any]:
    """Read a header that `check` found sound; safetensors maps the file, which may not fit."""
    with path.open("rb") as file:
        content = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    content.pop("__metadata__", None)
    return dict(content)


if __name__ == "__main__":
    sys.exit(main())
