"""What every field declares: a Chinese label beside its help."""

from __future__ import annotations

import re

import pytest

from swiftbox.config.fields import cards
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
