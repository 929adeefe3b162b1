"""Convert a foreign config to a typed one of swiftbox, with an account of every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from swiftbox.config.aliases import ALIASES, VALUE_ALIASES
from swiftbox.config.fields import cards
from swiftbox.config.groups import as_list
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry, read_text
from swiftbox.converters.foreign_file import Document, read, ungrouped
from swiftbox.converters.recognition import Recognised, recognise
from swiftbox.converters.rows import (
    AddedDefault,
    ForeignConfig,
    ForeignSetting,
    ForeignTool,
    KeyOutcome,
    no_effect,
    unsupported,
)
from swiftbox.converters.shell import COMPUTED
from swiftbox.errors import ConfigError
from swiftbox.formatting import nearest, suggestion_ending
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks.load import Loaded, load_settings

ESSENTIAL = ("stage", "model", "dataset", "tuner_type")
"""A training with other values of these would not be the one in the file."""

MAX_ROUNDS = 4
"""More rounds than kinds of mistakes that dropping a key can uncover."""


@dataclass(frozen=True)
class Line:
    """A foreign setting and its outcome."""

    setting: ForeignSetting
    outcome: KeyOutcome


@dataclass(frozen=True)
class Imported:
    """The typed config of a foreign file, and the account of every key."""

    document: Document
    recognised: Recognised
    loaded: Loaded
    lines: tuple[Line, ...]
    added: tuple[AddedDefault, ...]

    def lines_of_kind(self, kind: str) -> list[Line]:
        """Return the lines with one outcome: adopted, no_effect or unsupported."""
        return [line for line in self.lines if line.outcome.kind == kind]


def import_config(
    path: Path, overrides: Iterable[str] = (), *, tool: str | None = None
) -> Imported:
    """Read a foreign config and convert it; raise ConfigError if that is impossible.

    `tool` names the tool instead of recognizing it.
    """
    document = read(path)
    document = ungrouped(document)
    recognised = recognise(document, tool)
    lines = translate(document, recognised.tool)
    return _settle(document, recognised, lines, tuple(overrides))


def translate(document: Document, tool: ForeignTool) -> list[Line]:
    """Return the outcome of every key of a file; pure except for files that values name."""
    foreign = document.foreign
    return [
        Line(setting, outcome)
        for setting in document.entries
        for outcome in _outcomes(setting, foreign, tool)
    ]


def _outcomes(
    setting: ForeignSetting, foreign: ForeignConfig, tool: ForeignTool
) -> Iterable[KeyOutcome]:
    key, value = setting.key, setting.value
    if value is None or value in ("", [], {}):
        return [no_effect(text("left blank", "留空"))]
    if foreign.script and any(
        isinstance(item, str) and COMPUTED.search(item) for item in as_list(value)
    ):
        why = text("computed by the shell: give the value", "由 shell 计算：请直接给出数值")
        return [unsupported(why)]
    if key in tool.rows:
        return tool.rows[key](value, foreign)
    alias = ALIASES.get(key)
    if alias is not None and (ours := alias.translate(value)) is not None:
        return [KeyOutcome("adopted", ours) if ours else no_effect(text("off", "原本关闭"))]
    if key in known_keys():
        plain = isinstance(value, (str, int, bool))
        return [
            KeyOutcome(
                "adopted", {key: VALUE_ALIASES.get(key, {}).get(value, value) if plain else value}
            )
        ]
    similar = nearest(key, {*tool.rows, *ALIASES, *known_keys()}, cutoff=0.75)
    what = text(f"neither {tool.title} nor swiftbox knows this key", f"{tool.title} 与此处均无此键")
    return [unsupported(what + suggestion_ending(similar))]


@cache
def known_keys() -> frozenset[str]:
    """Return the keys of all stages of swiftbox."""
    return frozenset(card.name for method in METHODS.values() for card in cards(method.config))


def _settle(
    document: Document, recognised: Recognised, lines: list[Line], overrides: tuple[str, ...]
) -> Imported:
    """Return the typed config; values that it does not accept become unsupported."""
    command_line = read_text("", source=document.path.name, overrides=overrides)
    _refuse(document, lines, command_line)
    lines = _without_contradictions(_overridden(lines, command_line))
    for _ in range(MAX_ROUNDS):
        added = _foreign_defaults(lines, command_line, document.foreign, recognised.tool)
        settings = _settings(document, lines, added, command_line)
        try:
            loaded = load_settings(settings)
        except ConfigError:
            lines = _without_rejected(settings.problems, lines, document)
            continue
        return Imported(
            document,
            recognised,
            loaded,
            tuple(_in_scope(lines, loaded)),
            tuple(default for default in added if _applies(default.key, loaded)),
        )
    raise ConfigError(
        text("cannot be imported", "无法导入"),
        hint=text("start from a preset instead: `swiftbox new`", "请改用预设：`swiftbox new`"),
    )


def _refuse(document: Document, lines: list[Line], command_line: Settings) -> None:
    """Raise ConfigError for refused keys, unless the command line sets what they concern."""
    refused = [
        line
        for line in lines
        if line.outcome.kind == "refused"
        and not (line.outcome.ours and line.outcome.ours.keys() <= command_line.entries.keys())
    ]
    if not refused:
        return
    problems = [
        f"{document.path.name}:{line.setting.line} {line.setting.key}{line.outcome.within}: "
        f"{line.outcome.why}"
        for line in refused
    ]
    hints = dict.fromkeys(line.outcome.hint for line in refused if line.outcome.hint)
    raise ConfigError("\n".join(problems), hint="\n".join(hints))


def _without_contradictions(lines: list[Line]) -> list[Line]:
    """Let the first of two contradicting keys win, and report the other."""
    first: dict[str, tuple[Any, str]] = {}
    settled = []
    for line in lines:
        if line.outcome.kind == "refused":  # the command line sets what it concerns
            settled.append(_with_outcome(line, unsupported(line.outcome.why)))
            continue
        ours = line.outcome.ours.items() if line.outcome.kind == "adopted" else ()
        earlier = [(value, first.setdefault(key, (value, line.setting.key))) for key, value in ours]
        clashes = [key for value, (first_value, key) in earlier if value != first_value]
        if clashes:
            why = text(f"contradicts {clashes[0]}", f"与 {clashes[0]} 矛盾")
            settled.append(_with_outcome(line, unsupported(why)))
        else:
            settled.append(line)
    return settled


def _overridden(lines: list[Line], command_line: Settings) -> list[Line]:
    """Report a key once as replaced if the command line sets everything that it sets."""
    overridden: dict[str, bool] = {}
    for line in lines:
        if line.outcome.kind in ("adopted", "refused") and line.outcome.ours:
            covered = line.outcome.ours.keys() <= command_line.entries.keys()
            overridden[line.setting.key] = overridden.get(line.setting.key, True) and covered
    why = text("the value on the command line counts", "以直接给出的值为准")
    once = {line.setting.key: Line(line.setting, KeyOutcome("replaced", why=why)) for line in lines}
    remaining = [
        once.pop(line.setting.key, None) if overridden.get(line.setting.key) else line
        for line in lines
    ]
    return [line for line in remaining if line is not None]


def _with_outcome(line: Line, outcome: KeyOutcome) -> Line:
    """Return the line with another outcome, for the same part of its value."""
    return replace(line, outcome=replace(outcome, within=line.outcome.within))


def _foreign_defaults(
    lines: list[Line], command_line: Settings, foreign: ForeignConfig, tool: ForeignTool
) -> list[AddedDefault]:
    ours = {
        key: value
        for line in lines
        if line.outcome.kind == "adopted"
        for key, value in line.outcome.ours.items()
    } | command_line.values()
    return [default for default in tool.defaults(ours, foreign) if default.key not in ours]


def _settings(
    document: Document, lines: list[Line], added: list[AddedDefault], command_line: Settings
) -> Settings:
    name = document.path.name
    settings = Settings(name, problems=list(command_line.problems))
    stage = {
        **{default.key: default.value for default in added},
        **{key: value for line in lines for key, value in line.outcome.ours.items()},
        **command_line.values(),
    }.get("stage", "sft")
    available = {card.name for card in cards(METHODS[stage].config)} if stage in METHODS else set()
    for default in added:
        if default.key in available:  # other stages have no such setting
            settings.entries[default.key] = YamlEntry(default.value, name, 0, default.key)
    for line in lines:
        if line.outcome.kind != "adopted":
            continue
        for key, value in line.outcome.ours.items():
            if value is not None:
                where = f"{name}:{line.setting.line}"
                settings.entries[key] = YamlEntry(value, where, line.setting.line, line.setting.key)
    settings.entries |= command_line.entries
    return settings


def _without_rejected(
    problems: list[ConfigProblem], lines: list[Line], document: Document
) -> list[Line]:
    """Turn rejected settings into unsupported ones; raise ConfigError for essential ones."""
    wrong = {problem.key: problem for problem in problems}
    from_file = {
        key
        for line in lines
        if line.outcome.kind == "adopted"
        for key in line.outcome.ours
        if key in wrong and wrong[key].where.startswith(f"{document.path.name}:")
    }
    final = [
        problem for problem in problems if problem.key in ESSENTIAL or problem.key not in from_file
    ]
    if final:
        raise ConfigError(
            "\n".join(_describe(problem, lines) for problem in final),
            hint=text(
                f"set it: swiftbox import {document.path} key=value",
                f"请直接给出：swiftbox import {document.path} key=value",
            ),
        )
    settled = []
    for line in lines:
        keys = [key for key in line.outcome.ours if key in from_file]
        if line.outcome.kind != "adopted" or not keys:
            settled.append(line)
            continue
        rest = {key: value for key, value in line.outcome.ours.items() if key not in keys}
        if rest:
            settled.append(replace(line, outcome=replace(line.outcome, ours=rest)))
        for key in keys:
            what = wrong[key].what if key == line.setting.key else f"{key} {wrong[key].what}"
            settled.append(_with_outcome(line, unsupported(what)))
    return settled


def _describe(problem: ConfigProblem, lines: list[Line]) -> str:
    """Describe a mistake under the name that the key has in the foreign file."""
    theirs = next(
        (
            line.setting.key
            for line in lines
            if problem.key in line.outcome.ours and problem.where.endswith(f":{line.setting.line}")
        ),
        problem.key,
    )
    return f"{problem.where} {theirs}: {problem.what}"


def _applies(key: str, loaded: Loaded) -> bool:
    values = loaded.config.model_dump()
    return any(card.name == key and card.applies(values) for card in cards(type(loaded.config)))


LOST_OUT_OF_SCOPE = frozenset(("new_tokens", "new_special_tokens"))
"""Settings that other tools use in every case."""


def _in_scope(lines: list[Line], loaded: Loaded) -> list[Line]:
    """Report settings that do nothing with the resulting config, and why."""
    values: Mapping[str, Any] = loaded.config.model_dump()
    scopes = {
        card.name: " ".join(f"{key}: {' | '.join(map(str, ok))}" for key, ok in card.only.items())
        for card in cards(type(loaded.config))
        if not card.applies(values)
    }
    settled = []
    for line in lines:
        ours = line.outcome.ours if line.outcome.kind == "adopted" else {}
        if ours and all(key in scopes for key in ours):
            scope = scopes[next(iter(ours))]
            why = text(f"has an effect only with {scope}", f"仅在 {scope} 时有意义")
            outcome = unsupported if LOST_OUT_OF_SCOPE & ours.keys() else no_effect
            settled.append(_with_outcome(line, outcome(why)))
        else:
            settled.append(line)
    return settled
