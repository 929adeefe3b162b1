"""A form made from the fields of a config: essential ones are asked, the rest can be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.checking import build
from swiftbox.config.fields import Card, cards, section_title
from swiftbox.config.reading import read_text
from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import scalar
from swiftbox.language import text
from swiftbox.menu.field_pickers import PICKED, may_be_empty, pick, takes_one, task_of, written
from swiftbox.menu.goals import suggested
from swiftbox.menu.options.models import MachineNow
from swiftbox.menu.questions import Back, select, tell, type_in, type_path
from swiftbox.models.location import looks_like_path

Values = dict[str, Any]

PATHS = ("template", "output_dir", "local_dir", "benchmark_dir")
"""Fields that are typed with path completion."""

MUST_EXIST = ("model", "adapter", "compare", "dataset", "calibration_dataset")
"""Fields whose paths are looked for as they are typed."""


def unknown() -> None:
    """Stand for a machine that nobody has looked at yet."""


def fill(
    model: type[TaskConfig],
    values: Values,
    machine: MachineNow = unknown,
    *,
    without: Sequence[str] = (),
    from_last: bool = False,
) -> Values:
    """Ask the essential fields one by one; Back at the first leaves the form.

    `from_last` begins with the last question: the way back into a form that was filled in.
    """
    left_out = ("stage", *without)
    asked = [card for card in cards(model) if card.essential and card.name not in left_out]
    answers = dict(values)
    at = max(0, _before(model, asked, len(asked), answers)) if from_last else 0
    while at < len(asked):
        card = asked[at]
        if not card.applies(everything(model, answers)):
            at += 1
            continue
        try:
            answer = ask_field(model, card, proposed(model, card, answers), machine)
            answers = answered(answers, card, answer)
        except Back:
            at = _before(model, asked, at, answers)
            if at < 0:
                raise
            continue
        at += 1
    return answers


def answered(answers: Values, card: Card, answer: Any) -> Values:
    """Return the answers with one more; what is left empty is not written."""
    others = {key: value for key, value in answers.items() if key != card.name}
    return others if answer is None and card.default is None else {**answers, card.name: answer}


def proposed(model: type[TaskConfig], card: Card, answers: Values) -> Values:
    """Return the answers with what is sensible for a field that has none yet."""
    if card.name in answers or "stage" not in model.model_fields:
        return answers
    value = suggested(str(model.model_fields["stage"].default), answers, card.name)
    return answers if value is None else {**answers, card.name: value}


def _before(model: type[TaskConfig], asked: list[Card], at: int, answers: Values) -> int:
    """Return the place of the question before this one that applies; -1 before the first."""
    at -= 1
    while at >= 0 and not asked[at].applies(everything(model, answers)):
        at -= 1
    return at


def more(
    model: type[TaskConfig],
    values: Values,
    machine: MachineNow = unknown,
    without: Sequence[str] = (),
) -> Values:
    """Let any setting be changed but those named by `without`, until the user is done."""
    answers = dict(values)
    while True:
        shown = everything(model, answers)
        usable = [
            card
            for card in cards(model)
            if card.section != "task" and card.name not in without and card.applies(shown)
        ]
        choices: list[tuple[Card | None, str]] = [(None, text("done", "完成"))]
        for card in usable:
            mark = "*" if card.name in answers else " "
            title = (
                f"{mark} {section_title(card.section):<9} {card.name}: {plain(shown[card.name])}"
            )
            choices.append((card, title))
        try:
            chosen = select(
                text("Change a setting (type to search)", "修改设置（可输入字母查找）"),
                choices,
                search=True,
            )
        except Back:
            return answers
        if chosen is None:
            return answers
        try:
            answer = ask_field(model, chosen, answers, machine)
            answers = answered(answers, chosen, answer)
        except Back:
            continue


def everything(model: type[TaskConfig], values: Values) -> Values:
    """Return the values with the defaults of all other fields."""
    return {**{card.name: card.default for card in cards(model)}, **values}


def ask_field(
    model: type[TaskConfig], card: Card, values: Values, machine: MachineNow = unknown
) -> Any:
    """Ask for one field by its card; its help is the question, its current value the default."""
    now = values.get(card.name, card.default)
    message = card.name
    tell(f"  {card.help}")
    if card.kind == "choice":
        return select(message, [(one, one) for one in card.choices], default=str(now))
    if card.kind == "boolean":
        titles = [(True, text("yes", "是")), (False, text("no", "否"))]
        return select(message, titles, default=now)

    if card.name in PICKED:
        picked = pick(model, card, now, lambda one: mistake(model, card, one), machine)
        return parsed(model, card, written(model, card.name, picked))
    ask = type_path if card.name in PATHS else type_in
    return parsed(model, card, ask(message, plain(now), lambda typed: mistake(model, card, typed)))


def plain(value: Any) -> str:
    """Write a value as it is typed; nothing for an empty one."""
    return "" if value is None else value if isinstance(value, str) else scalar(value)


def mistake_of(model: type[TaskConfig], name: str, typed: str) -> str:
    """Return what is wrong with a typed value by the field's type alone."""
    settings = read_text("", source="", overrides=[*_of_task(model), f"{name}={typed}"])
    build(model, settings, {})
    return next((one.what for one in settings.problems if one.key == name), "")


def mistake(model: type[TaskConfig], card: Card, typed: str) -> str:
    """Return what is wrong with a typed value, in the reader's words; empty when it is well."""
    if not typed and may_be_empty(card):
        return ""
    whole = typed
    if card.name in PICKED and not takes_one(model, card.name):
        whole = written(model, card.name, [typed])
    if wrong := mistake_of(model, card.name, whole):
        return wrong
    missing = card.name in MUST_EXIST and looks_like_path(typed.partition("#")[0])
    if missing and not Path(typed).expanduser().exists():
        name = typed.rpartition("#")[0] or typed
        if not Path(name).expanduser().exists():
            return text(f"there is no {typed}", f"{typed} 不存在")
    return ""


STANDING_IN: Mapping[str, str] = {"model": "m", "dataset": "d"}
"""Values of fields that a config cannot be without, while another field is looked at."""


def _of_task(model: type[TaskConfig]) -> list[str]:
    """Say which task is meant: some keys have another name's meaning in another."""
    return [f"task={task_of(model)}"]


def parsed(model: type[TaskConfig], card: Card, typed: str) -> Any:
    """Return the value that a typed text means."""
    if not typed and may_be_empty(card):
        return None if card.nullable else card.default
    needed = {one.name: "x" for one in cards(model) if one.required}
    own = {key: value for key, value in STANDING_IN.items() if key in model.model_fields}
    given = {**needed, **own, card.name: typed}
    overrides = [*_of_task(model), *(f"{key}={value}" for key, value in given.items())]
    settings = read_text("", source="", overrides=overrides)
    config = build(model, settings, {})
    return settings.entries[card.name].value if config is None else getattr(config, card.name)
