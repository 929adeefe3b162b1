"""What the steps of a pipeline use when others are skipped: the nearest earlier result that fits.

A skipped quantization or merge leaves its own input to those that use it; a skipped training leaves
the model that an earlier training of the same chain made. Nothing stands for data, an address, a
report, or a model that nothing in the chain trained: a step that needs one of those is skipped too.
Entries of a comparison are left out, since their name would belong to another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from swiftbox.config.pipeline import PipelineConfig, PipelineStep
from swiftbox.config.references import OutputReference, references_in
from swiftbox.config.train import TrainConfig
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks.pipeline.graph import dependencies, task_of, users_of

MODEL_INPUTS = ("model", "adapter", "hub", "revision")
"""The keys that name a model in every task."""

OPTIONAL_ENTRIES = ("compare", "adapters", "adapter")
"""Keys with lists or mappings that are useful without some of their entries."""

REPLACED_BY_INPUT = ("quantize", "merge")
"""Tasks whose result is their input in another form."""

SERVES_ONE_FORMAT = ("llama_cpp",)
"""Engines that serve only what a quantization for them made."""

Values = dict[str, Any]


class MissingResult(Exception):
    """Nothing can stand for a result that a step uses; the message is the reason."""


@dataclass(frozen=True)
class Chain:
    """The steps that run with what they use, and those that are skipped with the reason."""

    config: PipelineConfig
    skipped: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a step uses instead, by its name."""

    def lines(self) -> list[str]:
        """Describe each change and each skipped step."""
        changed = [line for lines in self.changes.values() for line in lines]
        return [*changed, *(skipped_line(*item) for item in self.skipped.items())]


def skipped_line(name: str, reason: str) -> str:
    """Describe a skipped step."""
    return text(f"{name} is skipped: {reason}", f"跳过 {name}：{reason}")


def chain_without(config: PipelineConfig, failed: Mapping[str, str]) -> Chain:
    """Return what runs if the steps in `failed`, each with its reason, are skipped.

    Steps with `skip: true` are skipped as well.
    """
    reasons = {step.name: "skip: true" for step in config.steps if step.skip}
    reasons |= failed
    if not reasons:
        return Chain(config)
    rewiring = _Rewiring(config, reasons)
    for step in config.steps:
        rewiring.add(step)
    steps = tuple(step for step in rewiring.steps if not rewiring.is_idle_server(step))
    return Chain(
        config.model_copy(update={"steps": steps}), rewiring.skipped, dict(rewiring.changes)
    )


@dataclass
class _Rewiring:
    """The steps so far, and what stands for the model of each skipped one."""

    config: PipelineConfig
    reasons: Mapping[str, str]
    steps: list[PipelineStep] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    changes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    substitutes: dict[str, Values] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    """The steps whose model was trained in this chain."""

    def add(self, step: PipelineStep) -> None:
        """Add a step with what it uses, or skip it."""
        try:
            rewired, changes = self._rewired(step)
        except MissingResult as missing:
            self.skipped[step.name] = self.reasons.get(step.name, str(missing))
            return
        if step.name in self.reasons:
            self.skipped[step.name] = self.reasons[step.name]
            self._add_substitute(rewired)
            return
        self.steps.append(rewired)
        self._add_origin(rewired)
        if changes:
            self.changes[step.name] = tuple(changes)

    def _add_substitute(self, step: PipelineStep) -> None:
        """Record what stands for the model of a skipped step, if anything does."""
        inputs = {
            key: value
            for key, value in step.config.model_dump(mode="json").items()
            if key in MODEL_INPUTS
        }
        continues = _trains_language(step) and self._uses_trained(step)
        if step.config.task in REPLACED_BY_INPUT or continues:
            self.substitutes[step.name] = inputs

    def _add_origin(self, step: PipelineStep) -> None:
        """Record whether the model of a step was trained in this chain."""
        if _trains_language(step) or (
            step.config.task in REPLACED_BY_INPUT and self._uses_trained(step)
        ):
            self.trained.add(step.name)

    def _uses_trained(self, step: PipelineStep) -> bool:
        inputs = {key: getattr(step.config, key, None) for key in ("model", "adapter")}
        return any(reference.step in self.trained for reference in references_in(inputs))

    def _rewired(self, step: PipelineStep) -> tuple[PipelineStep, list[str]]:
        """Return a step without references to skipped ones, and what changed."""
        values = step.config.model_dump(mode="json")
        before = dict(values)
        changes: list[str] = []
        for key, value in before.items():
            lost = list(_lost(value, self.skipped))
            if lost:
                changes += self._replace(step, values, key, lost)
        if not changes:
            return step, []
        try:
            config = type(step.config).model_validate(values)
        except ValidationError:
            reference = next(_lost(before, self.skipped))
            raise MissingResult(_needs(reference)) from None
        return step.model_copy(update={"config": config}), changes

    def _replace(
        self, step: PipelineStep, values: Values, key: str, lost: list[OutputReference]
    ) -> list[str]:
        """Replace or leave out the lost references of a key; return what changed."""
        value = values[key]
        if key in OPTIONAL_ENTRIES and not isinstance(value, str) and step.config.task != "merge":
            return self._leave_out(step, values, key, lost)
        (reference,) = lost[:1]
        substitute = self.substitutes.get(reference.step)
        if key not in ("model", "adapter") or value != str(reference) or substitute is None:
            raise MissingResult(_needs(reference))
        if substitute.get("adapter") and not _takes_adapter(step, values, key):
            raise MissingResult(_needs(reference))
        _take(substitute, values, key)
        changes = [_instead(step.name, substitute, reference)]
        if values.get("engine") in SERVES_ONE_FORMAT:
            values["engine"] = "builtin"  # nothing but a quantization makes that format
            changes.append(
                text(f"{step.name} uses engine: builtin", f"{step.name} 改用 engine: builtin")
            )
        return changes

    def _leave_out(
        self, step: PipelineStep, values: Values, key: str, lost: list[OutputReference]
    ) -> list[str]:
        """Leave the lost entries of a list or mapping out."""
        names = {str(reference) for reference in lost}
        value = values[key]
        if isinstance(value, dict):
            rest: Any = {name: entry for name, entry in value.items() if entry not in names}
        else:
            rest = [entry for entry in value if entry not in names]
        if not rest and key != "compare":
            raise MissingResult(_needs(lost[0]))
        values[key] = rest or None
        return [
            text(f"{step.name} leaves {name} out", f"{step.name} 不含 {name}")
            for name in sorted(names)
        ]

    def is_idle_server(self, step: PipelineStep) -> bool:
        """Skip a server whose users are all skipped; tell whether it is one."""
        users = users_of(self.config, step.name)
        is_used = any(step.name in dependencies(other) for other in self.steps)
        if not task_of(step).serves or not users or is_used:
            return False
        self.skipped[step.name] = text("no step uses it", "没有步骤使用它")
        self.changes.pop(step.name, None)
        return True


def _trains_language(step: PipelineStep) -> bool:
    """Tell whether a step trains a model that writes answers."""
    config = step.config
    return (
        isinstance(config, TrainConfig)
        and METHODS[str(getattr(config, "stage", ""))].head == "language"
    )


def _lost(values: Any, skipped: Mapping[str, str]) -> Iterator[OutputReference]:
    yield from (reference for reference in references_in(values) if reference.step in skipped)


def _takes_adapter(step: PipelineStep, values: Values, key: str) -> bool:
    """Tell whether a step can use a base with an adapter in place of the model or adapter it names.

    A training would continue that adapter and not start its own.
    """
    if key == "adapter":
        return True
    is_training = isinstance(step.config, TrainConfig)
    return "adapter" in values and not values["adapter"] and not is_training


def _take(substitute: Values, values: Values, key: str) -> None:
    """Put the input of a skipped step into the settings of a step that names its result."""
    adapter = substitute.get("adapter")
    if key == "adapter" or adapter:
        values["adapter"] = adapter
    if key == "model" or substitute.get("model"):
        values |= {
            name: substitute[name]
            for name in ("model", "hub", "revision")
            if name in values and name in substitute
        }


def _needs(reference: OutputReference) -> str:
    return text(
        f"it needs {reference}, and nothing stands for it",
        f"需要 {reference}，而没有可代替的结果",
    )


def _instead(name: str, substitute: Values, reference: OutputReference) -> str:
    inputs = [str(substitute[key]) for key in ("model", "adapter") if substitute.get(key)]
    used = " + ".join(inputs)
    return text(f"{name} uses {used} in place of {reference}", f"{name} 以 {used} 代替 {reference}")
