"""The columns of the catalogue's datasets as they are on the hub, and how they are read.

dataset_columns.json is written by hand: catalogue.json is generated and does not know columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from swiftbox.data.shapes import SFT
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.catalogue import Dataset

FILE = Path(__file__).with_name("dataset_columns.json")

UNKNOWN = "unknown"
"""The reason of sets whose columns are not recorded; their rows may well be readable."""


@dataclass(frozen=True)
class DatasetShape:
    """The columns of datasets as they are on the hub, and how they are read."""

    columns: tuple[str, ...]
    """The columns that matter; a set may have further ones."""
    rename: Mapping[str, str]
    """Our names of columns whose names alone do not say what they are."""
    stages: tuple[str, ...]
    """The stages that learn from such rows; none if they cannot be read."""


@dataclass(frozen=True)
class KnownColumns:
    """What is known of the columns of one dataset, and where that is from."""

    shape: str | None = None
    """The name of its DatasetShape; None if its columns are not known or differ by subset."""
    subsets: Mapping[str, str] | None = None
    """The shape of each subset, of which only one can be read at a time."""
    subset: str | None = None
    """The subset to read if none is named, if only its files are of this shape."""
    split: str | None = None
    """The split to train on, if its files are not all of the kind that `shape` says."""
    source: str | None = None
    """card (of the hub, or a file next to it), registration (of another tool), code (that reads
    such rows), knowledge (none of these was seen)."""
    unread: str | None = None
    """Why it cannot be read as it is: a key of `reason_of`."""

    def shape_name(self, subset: str | None) -> str | None:
        """Return the name of the shape of a subset, or of all rows."""
        return (self.subsets or {}).get(subset or "", self.shape)


@cache
def dataset_shapes() -> Mapping[str, DatasetShape]:
    """Return all shapes of datasets by name."""
    return {
        name: DatasetShape(tuple(values["columns"]), values["rename"], _stages(values["stages"]))
        for name, values in _data()["shapes"].items()
    }


def _stages(stages: Sequence[str]) -> tuple[str, ...]:
    """Return stages with those that learn from the same rows."""
    return SFT if {*stages} <= {*SFT} and stages else tuple(stages)


@cache
def all_known_columns() -> Mapping[str, KnownColumns]:
    """Return what is known of each dataset, by the name in the catalogue."""
    return {name: KnownColumns(**values) for name, values in _data()["datasets"].items()}


def known_columns(dataset: Dataset) -> KnownColumns:
    """Return what is known of the columns of a dataset; nothing for sets with images or sound."""
    return all_known_columns().get(dataset.name, KnownColumns())


def shape_of(name: str, subset: str | None = None) -> DatasetShape | None:
    """Return the shape of a dataset, or of its subset, by its id; None if it is not known."""
    row = catalogue.dataset(name)
    shape = known_columns(row).shape_name(subset) if row else None
    return dataset_shapes().get(shape or "")


def reading_of(dataset: Dataset) -> dict[str, Any]:
    """Return what is known of the columns of a dataset as plain data, each shape in full."""
    known = known_columns(dataset)

    def shape_data(name: str | None) -> dict[str, Any] | None:
        shape = dataset_shapes().get(name or "")
        return asdict(shape) if shape else None

    shapes = {subset: shape_data(name) for subset, name in (known.subsets or {}).items()}
    return {**asdict(known), "shape": shape_data(known.shape), "subsets": shapes}


def reason_of(known: KnownColumns) -> str:
    """Return why a dataset cannot be read as it is; empty if it can."""
    reasons = {
        "ranking": (
            "its rows rank texts, for embedding models and rerankers: no stage learns them",
            "其数据是文本排序，用于嵌入与重排模型，没有训练阶段可以学习",
        ),
        "two answers": (
            "its rows have answers of people and answers of ChatGPT: say which to learn",
            "其数据同时含有人类与 ChatGPT 的回答：请指明学习哪一种",
        ),
        "no prompt": (
            "its rows have numbers and a target but no prompt",
            "其数据只有数字与目标值，没有提示",
        ),
        "speakers": (
            "its turns are named after the characters of a group chat, not after roles",
            "其轮次以群聊角色命名，而不是以 role 命名",
        ),
        UNKNOWN: (
            "its columns are not recorded: they are looked at once it is downloaded",
            "未记录其列名：下载后再检查",
        ),
    }
    return text(*reasons[known.unread]) if known.unread else ""


@cache
def _data() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content
