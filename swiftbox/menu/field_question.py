"""One field asked: its help and its current value are shown, the answer is checked and typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.checking import build
from swiftbox.config.fields import Card, cards
from swiftbox.config.reading import Settings, read_text
from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import scalar
from swiftbox.language import text
from swiftbox.menu.field_pickers import (
    PICKED_FIELDS,
    accepts_name,
    as_yaml,
    field_label,
    is_optional,
    pick_values,
    task_name,
)
from swiftbox.menu.options.option import MachineSource, unknown_machine
from swiftbox.menu.questions import select, type_path, type_text
from swiftbox.menu.terminal import print_wrapped
from swiftbox.models.location import looks_like_path, misspelled

Values = dict[str, Any]

PATH_FIELDS = ("template", "output_dir", "local_dir", "benchmark_dir")
"""Fields that are typed with path completion."""

MUST_EXIST = (
    *("model", "adapter", "tuned_model", "compare"),
    *("dataset", "val_dataset", "calibration_dataset"),
)
"""Fields whose paths must exist when they are typed."""


def ask_field(
    config_class: type[TaskConfig],
    card: Card,
    values: Values,
    machine: MachineSource = unknown_machine,
) -> Any:
    """Ask for one field: its help above the question, its current value as the default."""
    value = values.get(card.name, card.default)
    label = field_label(card)
    print_wrapped(f"  {card.help}")
    if card.kind == "choice":
        return select(label, [(choice, choice) for choice in card.choices], default=str(value))
    if card.kind == "boolean":
        titles: list[tuple[Any, str]] = [(True, text("yes", "是")), (False, text("no", "否"))]
        if card.nullable:
            titles = [(None, text("automatic", "自动")), *titles]
        return select(label, titles, default=value)

    def check(typed: str) -> str:
        return validation_error(config_class, card, typed)

    if card.name in PICKED_FIELDS:
        names = pick_values(config_class, card, value, check, machine)
        return parse_answer(config_class, card, as_yaml(config_class, card.name, names))
    ask = type_path if card.name in PATH_FIELDS else type_text
    return parse_answer(config_class, card, ask(label, as_typed(value), check))


def as_typed(value: Any) -> str:
    """Return a value as it is typed; empty for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else scalar(value)


def validation_error(config_class: type[TaskConfig], card: Card, typed: str) -> str:
    """Return what is wrong with a typed value; an empty string if it is valid."""
    if not typed and is_optional(card):
        return ""
    value = typed
    if card.name in PICKED_FIELDS and not accepts_name(config_class, card.name):
        value = as_yaml(config_class, card.name, [typed])
    return _type_error(config_class, card.name, value) or _missing_path(card, typed)


def _type_error(config_class: type[TaskConfig], field: str, typed: str) -> str:
    settings = _settings(config_class, {field: typed})
    build(config_class, settings, {})
    return next((problem.what for problem in settings.problems if problem.key == field), "")


def _missing_path(card: Card, typed: str) -> str:
    """Return what is wrong with a path that does not exist; a suffix `#n` limits its rows."""
    is_path = looks_like_path(typed.partition("#")[0]) or bool(misspelled(typed))
    if card.name not in MUST_EXIST or not is_path:
        return ""
    paths = (typed, typed.rpartition("#")[0] or typed)
    if any(Path(path).expanduser().exists() for path in paths):
        return ""
    return text(f"{typed} does not exist", f"{typed} 不存在")


PLACEHOLDERS: Mapping[str, str] = {"model": "m", "dataset": "d"}
"""Values for fields that a config needs while another field is parsed."""


def parse_answer(config_class: type[TaskConfig], card: Card, typed: str) -> Any:
    """Return the value that a typed answer means."""
    if not typed and is_optional(card):
        return None if card.nullable else card.default
    required = {other.name: "x" for other in cards(config_class) if other.required}
    placeholders = {
        key: value for key, value in PLACEHOLDERS.items() if key in config_class.model_fields
    }
    settings = _settings(config_class, {**required, **placeholders, card.name: typed})
    config = build(config_class, settings, {})
    if config is None:
        return settings.entries[card.name].value
    return getattr(config, card.name)


def _settings(config_class: type[TaskConfig], typed: Mapping[str, str]) -> Settings:
    """Read typed values as settings of the task: a key may mean something else in another."""
    overrides = [f"task={task_name(config_class)}"]
    overrides += [f"{key}={value}" for key, value in typed.items()]
    return read_text("", source="", overrides=overrides)
