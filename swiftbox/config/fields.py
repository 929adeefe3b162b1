"""What a setting is: a pydantic field with a label, help in two languages, section and scope."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypedDict,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from swiftbox.language import text

if TYPE_CHECKING:
    from typing_extensions import Unpack

SECTIONS = ("task", "model", "method", "data", "train", "run")


def section_title(section: str) -> str:
    """Return the title of a section."""
    titles = {
        "task": ("task", "任务"),
        "model": ("model", "模型"),
        "method": ("method", "训练方法"),
        "data": ("data", "数据"),
        "train": ("training", "训练参数"),
        "run": ("run", "运行"),
    }
    return text(*titles[section])


class FieldOptions(TypedDict, total=False):
    """What a field may declare beyond its texts and section."""

    essential: bool
    """The menu asks for it among its first questions."""
    only: Mapping[str, tuple[Any, ...]]
    """Values of other fields with which this one matters, such as {"tuner_type": ("lora",)};
    with others it is not asked, not written, and noted if given."""
    ge: float
    gt: float
    le: float
    lt: float
    limit: float
    """A larger value is a slip of the keyboard; refused, and not shown as a bound."""
    min_length: int


BOUND_OF_LIMIT = {"limit": "le"}
"""The bound that pydantic checks."""


def setting(
    default: Any = ...,
    *,
    label_zh: str,
    en: str,
    zh: str,
    section: str,
    **options: Unpack[FieldOptions],
) -> Any:
    """Declare a field: its Chinese label, its help in both languages, its section, its bounds."""
    scope = {key: list(values) for key, values in options.get("only", {}).items()}
    extra: Any = {
        "label_zh": label_zh,
        "zh": zh,
        "section": section,
        "essential": options.get("essential", False),
        "only": scope,
        "limited": "limit" in options,
    }
    constraints: Any = {
        BOUND_OF_LIMIT.get(key, key): value
        for key, value in options.items()
        if key not in ("essential", "only")
    }
    return Field(default, description=en, json_schema_extra=extra, **constraints)


@dataclass(frozen=True)
class Card:
    """One field as forms, pages and schemas show it."""

    name: str
    kind: Literal["text", "integer", "number", "boolean", "choice", "list"]
    default: Any
    choices: tuple[str, ...]
    keywords: tuple[str, ...]
    """Words, such as auto, that a number may be instead."""
    minimum: float | None
    maximum: float | None
    minimum_excluded: bool
    maximum_excluded: bool
    label_zh: str
    en: str
    zh: str
    section: str
    essential: bool
    required: bool
    nullable: bool
    only: Mapping[str, tuple[Any, ...]]

    @property
    def help(self) -> str:
        """Return the help text in the current language."""
        return text(self.en, self.zh)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Return whether the field matters with these values."""
        return all(values.get(key) in choices for key, choices in self.only.items())


@cache
def cards(model: type[BaseModel]) -> tuple[Card, ...]:
    """Describe every field of a config class, by section; the stage comes first in its section."""
    described = [card(name, info) for name, info in model.model_fields.items()]
    return tuple(
        sorted(described, key=lambda card: (SECTIONS.index(card.section), card.name != "stage"))
    )


def card(name: str, info: FieldInfo) -> Card:
    """Describe one field."""
    extra = info.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"{name} is not declared with setting()")
    members = union_members(info.annotation)
    kind = _kind(members)
    literals = literals_of(info.annotation)
    required = info.default is PydanticUndefined and info.default_factory is None
    bounds = _bounds(info)
    if extra["limited"]:
        del bounds["le"]
    return Card(
        name=name,
        kind=kind,
        default=None if required else info.get_default(call_default_factory=True),
        choices=literals if kind == "choice" else (),
        keywords=literals if kind != "choice" else (),
        minimum=bounds.get("ge", bounds.get("gt")),
        maximum=bounds.get("le", bounds.get("lt")),
        minimum_excluded="gt" in bounds,
        maximum_excluded="lt" in bounds,
        label_zh=str(extra["label_zh"]),
        en=info.description or "",
        zh=str(extra["zh"]),
        section=str(extra["section"]),
        essential=bool(extra["essential"]),
        required=required,
        nullable=type(None) in members,
        only={key: tuple(values) for key, values in dict(typing.cast(Any, extra["only"])).items()},
    )


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself, without their constraints."""
    return tuple(
        get_args(member)[0] if get_origin(member) is Annotated else member
        for member in _constrained_members(annotation)
    )


def _constrained_members(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def literals_of(annotation: Any) -> tuple[str, ...]:
    """Return the values that a type lists as texts; empty if it lists none."""
    for member in union_members(annotation):
        if get_origin(member) is Literal:
            return tuple(str(value) for value in get_args(member))
    return ()


def _kind(
    members: tuple[Any, ...],
) -> Literal["text", "integer", "number", "boolean", "choice", "list"]:
    if float in members:
        return "number"
    if int in members:
        return "integer"
    if any(get_origin(member) is Literal for member in members):
        return "choice"
    if bool in members:
        return "boolean"
    return "text" if str in members else "list"


def _bounds(info: FieldInfo) -> dict[str, float]:
    bounds: dict[str, float] = {}
    for constraint in constraints_of(info):
        for key in ("ge", "gt", "le", "lt"):
            value = getattr(constraint, key, None)
            if value is not None:
                bounds[key] = float(value)
    return bounds


def constraints_of(info: FieldInfo) -> Iterator[Any]:
    """Yield the constraints of a field, then those of the members of its type."""
    yield from info.metadata
    for member in _constrained_members(info.annotation):
        if get_origin(member) is Annotated:
            for declared in get_args(member)[1:]:
                yield from declared.metadata
