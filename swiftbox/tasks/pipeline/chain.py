"""From a few choices to the YAML of a whole chain: fetch, tune, merge, quantize, score, serve."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import yaml

from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.config.writing import write
from swiftbox.language import text
from swiftbox.tasks.load import Loaded, loads

STEPS = ("download", "train", "merge", "quantize", "evaluate", "deploy")
"""The steps there can be, in the order they are done."""

Values = Mapping[str, Any]


def chain(values: Values, steps: Collection[str], *, file: str = "FILE") -> str:
    """Return the YAML of a pipeline of those steps; raise ConfigError with all that is wrong.

    `values` holds the keys of the training as they are (model, dataset, tuner_type, ...), those of
    another step as `quantize.bits`, and output_dir of the pipeline. The references between the
    steps are made here: each works on what the one before it made. A step that has nothing to do
    (the merge of a model that is trained whole) is left out.
    """
    loaded = loaded_chain(values, steps)
    header = [
        text(f"The whole chain. Run: swiftbox run {file}", f"完整流程。运行：swiftbox run {file}"),
        text(
            "A step's key: swiftbox run FILE train.learning_rate=1e-4", "修改某一步：train.key=值"
        ),
    ]
    return write(loaded.config, header=header, keys=loaded.asked)


def loaded_chain(values: Values, steps: Collection[str]) -> Loaded:
    """Return the typed config of a chain; raise ConfigError with all that is wrong."""
    content = {
        "version": 1,
        "task": "pipeline",
        **{key: values[key] for key in ("output_dir",) if key in values},
        "steps": blocks(values, steps),
    }
    plain = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return loads(plain, source="chain")


def blocks(values: Values, steps: Collection[str]) -> list[dict[str, Any]]:
    """Return the steps as flat blocks that refer to each other."""
    whole = values.get("tuner_type", "lora") in FULL_TUNERS
    wanted = [one for one in STEPS if one in steps and not (one == "merge" and whole)]
    base: dict[str, Any] = {key: values[key] for key in ("model", "hub") if key in values}
    tuned: dict[str, Any] = dict(base)
    quantized = ""
    found = []
    for name in wanted:
        inputs = dict(tuned)
        if name == "download":
            inputs = dict(base)
            base = tuned = {"model": "${download.model}"}
        elif name == "train":
            inputs = {**_of_training(values), **base}
            tuned = (
                {"model": "${train.model}"} if whole else {**base, "adapter": "${train.adapter}"}
            )
        elif name == "merge":
            tuned = {"model": "${merge.model}"}
        elif name == "quantize":
            quantized = "${quantize.model}"
            tuned = {"model": quantized}
        elif name == "evaluate":
            inputs = {**base, **_against(wanted, whole, quantized)}
        found.append({"name": name, "task": name, **inputs, **_own(values, name)})
    return found


def _of_training(values: Values) -> dict[str, Any]:
    others = ("model", "hub", "output_dir", "task", "version")
    return {key: value for key, value in values.items() if "." not in key and key not in others}


def _own(values: Values, name: str) -> dict[str, Any]:
    start = f"{name}."
    return {key.removeprefix(start): one for key, one in values.items() if key.startswith(start)}


def _against(wanted: Collection[str], whole: bool, quantized: str) -> dict[str, Any]:
    """Return what the base is compared with: the tuned model, and the quantized one."""
    found: dict[str, Any] = {}
    compared = {}
    if "train" in wanted and whole:
        compared["tuned"] = "${train.model}"
    elif "train" in wanted:
        found["adapter"] = "${train.adapter}"
    if quantized:
        compared["quantized"] = quantized
    return {**found, "compare": compared} if compared else found
