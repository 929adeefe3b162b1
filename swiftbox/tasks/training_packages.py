"""Decide which optional packages a training does not use, so its process need not import them."""

from __future__ import annotations

from pathlib import Path

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.files import read_json
from swiftbox.methods import METHODS
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE

DATA_SCIENCE = SCIENCE | {"datasets"}
"""Packages that transformers and peft import if installed, for features unused here. pandas is
imported by compiled modules, which do not take None for a missing package."""

LIGHT_REPORTERS = frozenset({"none", "tensorboard"})
"""Values of report_to whose packages do not need DATA_SCIENCE."""


def unused_packages(config: TrainConfig) -> frozenset[str]:
    """Return the packages that a training does not use, as far as its config tells.

    Code of the model's repository (trust_remote_code) and DeepSpeed may import any package.
    """
    if config.trust_remote_code or config.distributed.startswith("zero"):
        return frozenset()
    unused = MEDIA
    if config.tuner_type != "qlora" and not config.optim.endswith("_8bit"):
        unused |= BITSANDBYTES
    online = METHODS[config.model_dump()["stage"]].reward_functions is not None
    if not online and LIGHT_REPORTERS.issuperset(as_list(config.report_to)):
        unused |= DATA_SCIENCE
    return unused


def needs_bitsandbytes(model: Path) -> bool:
    """Whether a local model is quantized, which its config does not tell before it is fetched."""
    return "quantization_config" in read_json(model / "config.json")
