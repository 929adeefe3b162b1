"""Fields that are picked from a list: models, adapters, datasets, benchmarks, deployments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from swiftbox.config.fields import Card, union_members
from swiftbox.config.groups import as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text
from swiftbox.menu.options.adapters import AdapterOptions
from swiftbox.menu.options.benchmarks import BenchmarkOptions
from swiftbox.menu.options.comparisons import ComparisonOptions
from swiftbox.menu.options.datasets import DatasetOptions
from swiftbox.menu.options.endpoints import EndpointOptions
from swiftbox.menu.options.models import ModelOptions
from swiftbox.menu.options.option import MachineSource, OptionSource
from swiftbox.menu.picker import Check, Picker
from swiftbox.methods import METHODS

MakeSource = Callable[[type[TaskConfig], MachineSource], OptionSource]


def _models(config_class: type[TaskConfig], machine: MachineSource) -> OptionSource:
    return ModelOptions(machine, for_training=task_name(config_class) == "train")


def _datasets(config_class: type[TaskConfig], _machine: MachineSource) -> OptionSource:
    stage = config_class.model_fields.get("stage")
    plain_text = stage is not None and not METHODS[stage.default].needs_template
    return DatasetOptions(plain_text=plain_text)


def _comparisons(config_class: type[TaskConfig], machine: MachineSource) -> OptionSource:
    return ComparisonOptions(machine, offers_base=not accepts_list(config_class, "compare"))


PICKED_FIELDS: Mapping[str, MakeSource] = {
    "model": _models,
    "tuned_model": _models,
    "adapter": lambda _config_class, _machine: AdapterOptions(),
    "compare": _comparisons,
    "dataset": _datasets,
    "val_dataset": _datasets,
    "test_dataset": _datasets,
    "calibration_dataset": lambda _config_class, _machine: DatasetOptions(),
    "benchmarks": lambda _config_class, _machine: BenchmarkOptions(),
    "endpoint": lambda _config_class, _machine: EndpointOptions(),
}
"""Fields whose values are picked, with the source of what is offered."""

PICKED_SINGLY = ("dataset", "val_dataset", "test_dataset")
"""Fields that take a list with more than names in it, which is written in YAML, not picked."""


def task_name(config_class: type[TaskConfig]) -> str:
    """Return the task of a config class."""
    return str(config_class.model_fields["task"].default)


def field_label(card: Card) -> str:
    """Return the label of a field: its key, in Chinese after the Chinese name."""
    return text(card.name, f"{card.label_zh} {card.name}")


def accepts_list(config_class: type[TaskConfig], field: str) -> bool:
    """Tell whether a field takes a list of names."""
    if field in PICKED_SINGLY:
        return False
    members = union_members(config_class.model_fields[field].annotation)
    return any(get_origin(member) is list and get_args(member) == (str,) for member in members)


def accepts_name(config_class: type[TaskConfig], field: str) -> bool:
    """Tell whether a field takes a single name."""
    return str in union_members(config_class.model_fields[field].annotation)


def is_optional(card: Card) -> bool:
    """Tell whether a field may be left without a value."""
    return not card.required and (card.nullable or card.default in (None, []))


def pick_values(
    config_class: type[TaskConfig], card: Card, value: Any, check: Check, machine: MachineSource
) -> list[str]:
    """Let names be picked for a field; an optional field may be left empty."""
    picker = Picker(
        field_label(card),
        PICKED_FIELDS[card.name](config_class, machine),
        check,
        many=accepts_list(config_class, card.name),
        empty=text("(empty)", "（留空）") if is_optional(card) else "",
    )
    names = [str(name) for name in as_list(value) if name] if value else []
    if len(names) > 1:
        picker.marked = names
    else:
        picker.current = "".join(names)
    return [name for name in picker.pick() if name]


def as_yaml(config_class: type[TaskConfig], field: str, names: list[str]) -> str:
    """Return picked names as they would be typed: one name, or a list."""
    if len(names) == 1 and accepts_name(config_class, field):
        return names[0]
    return json.dumps(names, ensure_ascii=False) if names else ""
