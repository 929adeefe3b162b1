"""Turn the settings of a file into a typed config, or into every mistake with its fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from swiftbox.config.clear_values import clear_value, text_problems
from swiftbox.config.fields import Card, cards, union_members
from swiftbox.config.mistakes import problems_of, unknown_key
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry, plain_text
from swiftbox.language import text

Config = TypeVar("Config", bound=BaseModel)


def build(model: type[Config], settings: Settings, elsewhere: Mapping[str, str]) -> Config | None:
    """Build the config; on mistakes add them to `settings.problems` and return None.

    `elsewhere` maps keys that other stages have to the names of those stages.
    """
    described = {card.name: card for card in cards(model)}
    values: dict[str, Any] = {}
    for key, entry in settings.entries.items():
        if key not in described:
            settings.problems.append(unknown_key(key, entry, described, elsewhere))
            continue
        values[key] = _as_declared(model, key, entry)
        settings.problems += [
            ConfigProblem(entry.where, key, what, entry.order)
            for what in dict.fromkeys(text_problems(key, values[key]))
        ]
    _drop_out_of_scope(described, values, settings)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        settings.problems += problems_of(error, settings, described)
        return None


def check_without_class(models: Sequence[type[BaseModel]], settings: Settings) -> None:
    """Check settings whose class is not known, because the key that picks it is wrong.

    A key is unknown if no class has it, its value is wrong if no class that has it accepts it, and
    it is missing if all classes require it. The first class is the likeliest: its messages count.
    """
    names = {name for model in models for name in model.model_fields}
    for key, entry in settings.entries.items():
        if key not in names:
            settings.problems.append(unknown_key(key, entry, names, {}))
    trials = [(model, _problems_by_key(model, settings)) for model in models]
    for _, trial in trials:
        for key, problems in trial.items():
            concerned = [
                others
                for model, others in trials
                if key not in settings.entries or key in model.model_fields
            ]
            if key and all(key in others for others in concerned):
                settings.problems += [
                    problem for problem in problems if not _is_reported(problem, settings)
                ]


def _is_reported(problem: ConfigProblem, settings: Settings) -> bool:
    return any(
        (problem.where, problem.key) == (other.where, other.key) for other in settings.problems
    )


def _problems_by_key(model: type[BaseModel], settings: Settings) -> dict[str, list[ConfigProblem]]:
    """Check against one class the settings that it knows; return the problems of each key."""
    entries = {key: entry for key, entry in settings.entries.items() if key in model.model_fields}
    trial = Settings(settings.source, entries, first_line=settings.first_line)
    build(model, trial, {})
    problems: dict[str, list[ConfigProblem]] = {}
    for problem in trial.problems:
        problems.setdefault(problem.key, []).append(problem)
    return problems


def _as_declared(model: type[BaseModel], key: str, entry: YamlEntry) -> Any:
    """Undo YAML 1.1's conversion of a word if the field takes one; mark what it misreads."""
    annotation = model.model_fields[key].annotation
    if isinstance(entry.value, (list, dict)):
        return clear_value(annotation, entry.value, entry.plain, entry.node)
    members = union_members(annotation)
    has_true = any("true" in getattr(member, "__args__", ()) for member in members)
    if isinstance(entry.value, bool) and has_true:
        return str(entry.value).lower()
    takes_text = any(member is str for member in members) or _is_word_choice(members)
    takes_converted = any(member in (int, float, bool) for member in members)
    if takes_text and not takes_converted and entry.value is not None:
        return plain_text(entry)
    return clear_value(annotation, entry.value, entry.plain, entry.node)


def _is_word_choice(members: tuple[Any, ...]) -> bool:
    return any(
        all(isinstance(value, str) for value in getattr(member, "__args__", (0,)))
        for member in members
    )


def _drop_out_of_scope(
    described: Mapping[str, Card], values: dict[str, Any], settings: Settings
) -> None:
    """Leave out, with a note, keys that have no effect with the choices made.

    Where a choice is wrong, its keys stay, so that their values are checked as well.
    """
    chosen = {key: values.get(key, card.default) for key, card in described.items()}
    wrong = {key for key, card in described.items() if not _is_choice(card, chosen[key])}
    for key in list(values):
        card = described[key]
        if card.applies(chosen) or not wrong.isdisjoint(card.only):
            continue
        del values[key]
        scope = ", ".join(
            f"{other}: {' | '.join(map(str, choices))}" for other, choices in card.only.items()
        )
        where = settings.entries[key].where
        settings.notes.append(
            text(
                f"{where} {key} is not used: it matters only with {scope}",
                f"{where} {key} 未使用：仅在 {scope} 时有意义",
            )
        )


def _is_choice(card: Card, value: Any) -> bool:
    return not card.choices or str(value) in card.choices
