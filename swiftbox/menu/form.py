"""A form made from the fields of a config: it asks the essential ones; the rest can be changed."""

from __future__ import annotations

from collections.abc import Sequence

from swiftbox.config.fields import Card, cards, section_title
from swiftbox.config.task import TaskConfig
from swiftbox.formatting import pad
from swiftbox.language import text
from swiftbox.menu.column_mapper import with_columns
from swiftbox.menu.field_pickers import field_label
from swiftbox.menu.field_question import Values, as_typed, ask_field
from swiftbox.menu.goals import suggestion
from swiftbox.menu.options.option import MachineSource, unknown_machine
from swiftbox.menu.questions import Back, select

DATASET = "dataset"
"""The field behind which the columns of its rows are asked for, if they are unknown."""

SECTION_CELLS = 9
"""The widest section title, and a space."""


def fill_form(
    config_class: type[TaskConfig],
    values: Values,
    machine: MachineSource = unknown_machine,
    *,
    without: Sequence[str] = (),
    from_last: bool = False,
) -> Values:
    """Ask the essential fields one by one; Back at the first raises Back.

    `from_last` starts with the last question: the way back into a form that is filled in.
    """
    excluded = ("stage", *without)
    fields = [card for card in cards(config_class) if card.essential and card.name not in excluded]
    answers = dict(values)
    position = 0
    if from_last:
        position = max(0, _previous(config_class, fields, len(fields), answers))
    while position < len(fields):
        card = fields[position]
        if not card.applies(with_defaults(config_class, answers)):
            position += 1
            continue
        try:
            proposed = _with_suggestion(config_class, card, answers)
            answer = ask_field(config_class, card, proposed, machine)
            answers = with_answer(answers, card, answer)
        except Back:
            position = _previous(config_class, fields, position, answers)
            if position < 0:
                raise
            continue
        position += 1
        if card.name == DATASET:
            try:
                answers = with_columns(config_class, answers)
            except Back:
                position -= 1
    return answers


def _previous(
    config_class: type[TaskConfig], fields: Sequence[Card], position: int, answers: Values
) -> int:
    """Return the position of the last question before this one that applies; -1 without one."""
    values = with_defaults(config_class, answers)
    applicable = (at for at in range(position - 1, -1, -1) if fields[at].applies(values))
    return next(applicable, -1)


def _with_suggestion(config_class: type[TaskConfig], card: Card, answers: Values) -> Values:
    """Return the answers with a suggested value for a field that has no answer yet."""
    if card.name in answers or "stage" not in config_class.model_fields:
        return answers
    value = suggestion(str(config_class.model_fields["stage"].default), answers, card.name)
    return answers if value is None else {**answers, card.name: value}


def with_answer(answers: Values, card: Card, answer: object) -> Values:
    """Return the answers with one more; an empty optional field is left out."""
    others = {key: value for key, value in answers.items() if key != card.name}
    return others if answer is None and card.default is None else {**answers, card.name: answer}


def with_defaults(config_class: type[TaskConfig], values: Values) -> Values:
    """Return the values with the defaults of all other fields."""
    return {**{card.name: card.default for card in cards(config_class)}, **values}


def change_settings(
    config_class: type[TaskConfig],
    values: Values,
    machine: MachineSource = unknown_machine,
    without: Sequence[str] = (),
) -> Values:
    """Let any setting be changed except those in `without`, until the user is done."""
    answers = dict(values)
    while True:
        try:
            card = select(
                text("Change a setting (type to search)", "修改设置（可输入文字查找）"),
                [
                    (None, text("done", "完成")),
                    *_setting_titles(config_class, answers, without),
                ],
                search=True,
            )
        except Back:
            return answers
        if card is None:
            return answers
        try:
            changed = with_answer(answers, card, ask_field(config_class, card, answers, machine))
            answers = with_columns(config_class, changed) if card.name == DATASET else changed
        except Back:
            continue


def _setting_titles(
    config_class: type[TaskConfig], answers: Values, without: Sequence[str]
) -> list[tuple[Card, str]]:
    """Return every setting that applies, with its section and value; a star marks changed ones."""
    values = with_defaults(config_class, answers)
    titles = []
    for card in cards(config_class):
        if card.section == "task" or card.name in without or not card.applies(values):
            continue
        mark = "*" if card.name in answers else " "
        section = pad(section_title(card.section), SECTION_CELLS)
        value = as_typed(values[card.name])
        titles.append((card, f"{mark} {section} {field_label(card)}: {value}"))
    return titles
