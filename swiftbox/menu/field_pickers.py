"""How a field is asked that is picked from a list: models, adapters, datasets, benchmarks, runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from swiftbox.config.fields import Card, union_members
from swiftbox.config.groups import as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text
from swiftbox.menu.options.benchmarks import Adapters, Benchmarks, Comparable, Endpoints
from swiftbox.menu.options.models import Datasets, MachineNow, Models
from swiftbox.menu.picker import Check, Picker, Source

Make = Callable[[type[TaskConfig], MachineNow], Source]


def _models(model: type[TaskConfig], machine: MachineNow) -> Source:
    return Models(machine, trained=task_of(model) == "train")


def _datasets(model: type[TaskConfig], _machine: MachineNow) -> Source:
    stage = model.model_fields.get("stage")
    return Datasets(plain=stage is not None and stage.default == "pt")


PICKED: Mapping[str, Make] = {
    "model": _models,
    "adapter": lambda _model, _machine: Adapters(),
    "compare": lambda model, machine: Comparable(machine, base=not takes_several(model, "compare")),
    "dataset": _datasets,
    "calibration_dataset": lambda _model, _machine: Datasets(),
    "benchmarks": lambda _model, _machine: Benchmarks(),
    "endpoint": lambda _model, _machine: Endpoints(),
}
"""Fields that are picked from what is here and from the catalogue."""

ONE = ("dataset",)
"""Fields that may hold a list of more than names, which is written, not picked."""


def task_of(model: type[TaskConfig]) -> str:
    """Return the task of a config class."""
    return str(model.model_fields["task"].default)


def takes_several(model: type[TaskConfig], name: str) -> bool:
    """Tell whether a field may be a list of names."""
    if name in ONE:
        return False
    kinds = union_members(model.model_fields[name].annotation)
    return any(get_origin(one) is list and get_args(one) == (str,) for one in kinds)


def takes_one(model: type[TaskConfig], name: str) -> bool:
    """Tell whether a field may be a name by itself."""
    return str in union_members(model.model_fields[name].annotation)


def pick(
    model: type[TaskConfig], card: Card, now: Any, check: Check, machine: MachineNow
) -> list[str]:
    """Let names be picked for a field; nothing where it may be left empty and was."""
    several = takes_several(model, card.name)
    empty = text("(empty)", "（留空）") if may_be_empty(card) else ""
    picker = Picker(card.name, PICKED[card.name](model, machine), check, many=several, empty=empty)
    before = [str(one) for one in as_list(now) if one] if now else []
    if len(before) > 1:
        picker.chosen = before
    else:
        picker.current = "".join(before)
    return [one for one in picker.pick() if one]


def may_be_empty(card: Card) -> bool:
    """Tell whether a field may be left without a value."""
    return not card.required and (card.nullable or card.default in (None, []))


def written(model: type[TaskConfig], name: str, picked: list[str]) -> str:
    """Return what was picked as it would be typed: a name, or a list of them."""
    if len(picked) == 1 and takes_one(model, name):
        return picked[0]
    return json.dumps(picked, ensure_ascii=False) if picked else ""
