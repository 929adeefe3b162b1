"""What every field declares: a Chinese label beside its help."""

from __future__ import annotations

import re

import pytest
from pydantic.fields import FieldInfo

from swiftbox.config.fields import cards, constraints_of, union_members
from swiftbox.formatting import width
from swiftbox.tasks import TASKS

CHINESE = re.compile(r"[\u4e00-\u9fff]")
CONFIGS = {name: model for task in TASKS.values() for name, model in task.config_classes.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_field_has_a_short_chinese_label(name: str) -> None:
    labels = [card.label_zh for card in cards(CONFIGS[name])]
    assert [label for label in labels if not CHINESE.search(label) or width(label) > 20] == []


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_label_stands_for_one_field(name: str) -> None:
    labels = [card.label_zh for card in cards(CONFIGS[name])]
    assert len(set(labels)) == len(labels)


def test_every_number_has_a_smallest_and_a_largest_value() -> None:
    open_ended = [
        f"{config_class.__name__}.{name}"
        for task in TASKS.values()
        for config_class in task.config_classes.values()
        for name, info in config_class.model_fields.items()
        if {int, float} & set(union_members(info.annotation))
        and not ({"ge", "gt"} & _bounds(info) and {"le", "lt"} & _bounds(info))
    ]
    assert open_ended == []


def _bounds(info: FieldInfo) -> set[str]:
    names = ("ge", "gt", "le", "lt")
    return {
        name
        for constraint in constraints_of(info)
        for name in names
        if getattr(constraint, name, None) is not None
    }
