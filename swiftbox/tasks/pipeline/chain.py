"""From a few choices to the steps of a pipeline: fetch, tune, merge, quantize, evaluate, serve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftbox.config.tuners import FULL_TUNERS

STEPS = ("download", "train", "merge", "quantize", "evaluate", "deploy")
"""The steps of a chain, in the order in which they run."""

NOT_OF_TRAINING = ("model", "hub", "output_dir", "task", "version")

Values = Mapping[str, Any]
Inputs = dict[str, Any]


def chain_blocks(values: Values, steps: Collection[str]) -> list[dict[str, Any]]:
    """Return the chosen steps as flat blocks of a pipeline that refer to each other.

    `values` holds the keys of the training as they are (model, dataset, tuner_type, ...) and those
    of other steps as `quantize.bits`. Each step works on what the one before it made. The merge of
    a model that is trained in full is left out, since there is no adapter.
    """
    chain = _Chain(values)
    chosen = [step for step in STEPS if step in steps and not (step == "merge" and chain.is_full)]
    blocks = []
    for step in chosen:
        inputs = chain.inputs_of(step, chosen)
        blocks.append({"name": step, "task": step, **inputs, **_settings_of(step, values)})
    return blocks


@dataclass
class _Chain:
    """The results of the steps so far: the base, and the model that the next step uses."""

    values: Values
    base_model: Inputs = field(init=False)
    tuned_model: Inputs = field(init=False)
    quantized_model: str = ""

    def __post_init__(self) -> None:
        self.base_model = {key: self.values[key] for key in ("model", "hub") if key in self.values}
        self.tuned_model = dict(self.base_model)

    @property
    def is_full(self) -> bool:
        """Tell whether all weights are trained."""
        return self.values.get("tuner_type", "lora") in FULL_TUNERS

    def inputs_of(self, step: str, chosen: Collection[str]) -> Inputs:
        """Return the keys of a step that name its inputs, and record its result."""
        special: dict[str, Callable[[], Inputs]] = {
            "download": self._download,
            "train": self._train,
            "merge": self._merge,
            "quantize": self._quantize,
            "evaluate": lambda: self._evaluate(chosen),
        }
        return special[step]() if step in special else dict(self.tuned_model)

    def _download(self) -> Inputs:
        inputs = dict(self.base_model)
        self.base_model = {"model": "${download.model}"}
        self.tuned_model = dict(self.base_model)
        return inputs

    def _train(self) -> Inputs:
        settings = {
            key: value
            for key, value in self.values.items()
            if "." not in key and key not in NOT_OF_TRAINING
        }
        inputs = {**settings, **self.base_model}
        if self.is_full:
            self.tuned_model = {"model": "${train.model}"}
        else:
            self.tuned_model = {**self.base_model, "adapter": "${train.adapter}"}
        return inputs

    def _merge(self) -> Inputs:
        inputs, self.tuned_model = self.tuned_model, {"model": "${merge.model}"}
        return dict(inputs)

    def _quantize(self) -> Inputs:
        self.quantized_model = "${quantize.model}"
        inputs, self.tuned_model = self.tuned_model, {"model": self.quantized_model}
        return dict(inputs)

    def _evaluate(self, chosen: Collection[str]) -> Inputs:
        """Compare the base with the tuned and the quantized model."""
        inputs = dict(self.base_model)
        compared = {}
        if "train" in chosen and self.is_full:
            compared["tuned"] = "${train.model}"
        elif "train" in chosen:
            inputs["adapter"] = "${train.adapter}"
        if self.quantized_model:
            compared["quantized"] = self.quantized_model
        return {**inputs, "compare": compared} if compared else inputs


def _settings_of(step: str, values: Values) -> Inputs:
    prefix = f"{step}."
    return {
        key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)
    }
