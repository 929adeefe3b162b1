"""Load a model by the headers of its files alone, in a child process, and print what does not fit.

Usage: `python -m swiftbox.core.weights.trial_load FOLDER [score]`.

The class, the renamings and the conversions are those of a real loading; on torch's meta device no
weight is read and nothing is allocated. Code that comes with a model never runs. The output is a
JSON object with the names of weights: missing, unexpected, reshaped; `uncached`, the kinds of
caches that the builtin server does not have; and `combined`, a packed matrix of one expert where
the class has one tensor for all of a layer. It names config.json as `incomplete` where weights that
are combined at loading, such as those of experts, lack a part; `broken` is the error of a library
that cannot make the class, `lacking` that of a package that is not installed.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from swiftbox.architectures.choice import ClassPurpose, require_class, stored_head
from swiftbox.architectures.stored_forms import (
    PACKED_FORMS,
    is_side_tensor,
    plain_weights,
    read_stored,
)
from swiftbox.architectures.stored_settings import Shape, StoredForm
from swiftbox.core.generation.recurrent_rows import uncached_kinds
from swiftbox.core.weights.load_errors import CONVERSION, READING_ERRORS
from swiftbox.core.weights.placement import plain_faults, stored_form, stored_tensors
from swiftbox.files import read_json
from swiftbox.runs.asked_child import NOT_KEPT
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE

HIDDEN = BITSANDBYTES | MEDIA | SCIENCE
"""Packages that runs/asked_child.py hides."""

EXPERT = re.compile(r"(?:^|\.)experts\.\d+\.")
"""In the name of a weight of one expert."""

COLUMNS_OF_A_WORD = 32
"""At most: one bit each."""


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
    """Return the names of the weights that do not fit, each kind sorted.

    A quantized model is loaded as the class with plain modules, each with one weight in the place
    of its tensors. Where their form is not known, only the kinds of caches are looked at.
    """
    choice = require_class(folder, ClassPurpose(score=score))
    is_stored = stored_head(read_json(folder / "config.json")) == "score"
    settings = {"num_labels": 1} if score and not is_stored else {}
    config = AutoConfig.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True, **settings
    )
    uncached = [] if score else uncached_kinds(config)
    form, is_quantized = stored_form(folder), hasattr(config, "quantization_config")
    if is_quantized and form is None:
        return {"missing": [], "unexpected": [], "reshaped": [], "uncached": uncached}
    tensors = stored_tensors(folder)
    stored = read_stored(tensors, form) if form is not None else plain_weights(tensors)
    if is_quantized:
        del config.quantization_config  # transformers would need the library that made it
    loader = getattr(transformers, choice.loader)
    model, report = loader._model_mapping[type(config)].from_pretrained(
        None,
        config=config,
        state_dict={name: _hollow(shape) for name, shape in stored.dense.items()},
        device_map={"": "meta"},
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    missing, unexpected = plain_faults(folder, model, report, score=score)
    reshaped = [name for name, *shapes in report["mismatched_keys"] if _differ(shapes, form)]
    if form is not None:
        unexpected = [name for name in unexpected if not is_side_tensor(name)]
    return {
        "missing": sorted([*missing, *stored.lacking]),
        "unexpected": unexpected,
        "reshaped": sorted([*reshaped, *stored.misshapen]),
        "uncached": uncached,
        "combined": _combined_experts(model, set(stored.dense) - set(tensors)),
    }


def _combined_experts(model: Any, packed: Iterable[str]) -> list[str]:
    """Return the first packed matrix of one expert, if the class has no module for it.

    Matrices that are stored as they are, of the same name, are combined at loading.
    """
    are_modules = any(EXPERT.search(f"{name}.") for name, _module in model.named_modules())
    return [] if are_modules else sorted(filter(EXPERT.search, packed))[:1]


def _hollow(shape: Shape | None) -> torch.Tensor:
    """Return a tensor without values; it has no elements where the shape is not known."""
    return torch.empty((0,) if shape is None else shape, device="meta")


def _differ(shapes: Sequence[Shape], form: StoredForm | None) -> bool:
    """Tell whether a stored shape is another one than that of the class, which follows it.

    Packed words hold several columns, the last of which may be unused; bitsandbytes stores the
    count of elements only.
    """
    stored, expected = map(tuple, shapes)
    count = math.prod(stored)
    if form is None:
        return stored != expected
    if count == 0:
        return False
    if form.method == "bitsandbytes" and len(stored) == 1:
        return count - math.prod(expected) not in (0, 1)
    is_packed = form.method in PACKED_FORMS and len(stored) == len(expected)
    if is_packed and stored[:-1] == expected[:-1]:
        return not 0 <= stored[-1] - expected[-1] < COLUMNS_OF_A_WORD
    return True


if __name__ == "__main__":
    sys.exit(main())
