"""From a foreign config to a typed one of ours, with an account of every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from swiftbox.config.aliases import ALIASES, VALUE_ALIASES
from swiftbox.config.fields import cards
from swiftbox.config.groups import as_list
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry, read_text
from swiftbox.converters.reading import Document, read
from swiftbox.converters.recognising import Recognised, recognise
from swiftbox.converters.row import Added, Finding, Given, Tool, Written, idle, left
from swiftbox.converters.shell import COMPUTED
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks.load import Loaded, load_settings

ESSENTIAL = ("stage", "model", "dataset", "tuner_type")
"""Without these as they were meant, another training would run than the one that was asked for."""

MOST = 4
"""More rounds than kinds of mistakes that leaving a key out can uncover."""


@dataclass(frozen=True)
class Line:
    """A foreign setting and what became of it."""

    written: Written
    finding: Finding


@dataclass(frozen=True)
class Imported:
    """A foreign config in our words: the typed config and the account of every key."""

    document: Document
    recognised: Recognised
    loaded: Loaded
    lines: tuple[Line, ...]
    added: tuple[Added, ...]

    def of_kind(self, kind: str) -> list[Line]:
        """Return the lines that met one fate: taken, idle or left."""
        return [line for line in self.lines if line.finding.kind == kind]


def import_config(
    path: Path, overrides: Iterable[str] = (), *, asked: str | None = None
) -> Imported:
    """Read a foreign config and translate it; raise ConfigError where that cannot be done."""
    document = read(path)
    recognised = recognise(document, asked)
    lines = translate(document, recognised.tool)
    return _settle(document, recognised, lines, tuple(overrides))


def translate(document: Document, tool: Tool) -> list[Line]:
    """Say for every key of a file what becomes of it; pure but for the files that values name."""
    given = document.given
    return [
        Line(written, finding)
        for written in document.entries
        for finding in _findings(written, given, tool)
    ]


def _findings(written: Written, given: Given, tool: Tool) -> Iterable[Finding]:
    key, value = written.key, written.value
    if value is None or value in ("", [], {}):
        return [idle(text("left blank", "留空"))]
    if given.script and any(
        isinstance(one, str) and COMPUTED.search(one) for one in as_list(value)
    ):
        why = text("the shell computes it: give the value", "由 shell 计算：请直接给出数值")
        return [left(why)]
    if key in tool.rows:
        return tool.rows[key](value, given)
    alias = ALIASES.get(key)
    if alias is not None and (ours := alias.translate(value)) is not None:
        return [Finding("taken", ours) if ours else idle(text("off there", "原本关闭"))]
    if key in known_keys():
        plain = isinstance(value, (str, int, bool))
        return [
            Finding(
                "taken", {key: VALUE_ALIASES.get(key, {}).get(value, value) if plain else value}
            )
        ]
    near = get_close_matches(key, {*tool.rows, *ALIASES, *known_keys()}, n=1, cutoff=0.75)
    what = text(f"not known to {tool.title} or here", f"{tool.title} 与此处均无此键")
    end = text(f"; did you mean {near[0]}?", f"；是否想写 {near[0]}？") if near else ""
    return [left(what + end)]


@cache
def known_keys() -> frozenset[str]:
    """Return the keys of all our stages."""
    return frozenset(card.name for method in METHODS.values() for card in cards(method.config))


def _settle(
    document: Document, recognised: Recognised, lines: list[Line], overrides: tuple[str, ...]
) -> Imported:
    """Make the typed config, moving what it does not accept to what is not taken."""
    asked = read_text("", source=document.path.name, overrides=overrides)
    _refuse(document, lines, asked)
    lines = _agreed(_by_hand(lines, asked))
    for _ in range(MOST):
        added = _added(lines, document.given, recognised.tool)
        settings = _settings(document, lines, added, asked)
        try:
            loaded = load_settings(settings)
        except ConfigError:
            lines = _without(settings.problems, lines, document)
            continue
        return Imported(
            document,
            recognised,
            loaded,
            tuple(_in_scope(lines, loaded)),
            tuple(one for one in added if _applies(one.key, loaded)),
        )
    raise ConfigError(text("cannot be imported", "无法导入"))


def _refuse(document: Document, lines: list[Line], asked: Settings) -> None:
    """Raise for what cannot be imported, unless the keys it concerns are given by hand."""
    there = [
        line
        for line in lines
        if line.finding.kind == "refused"
        and not (line.finding.ours and line.finding.ours.keys() <= asked.entries.keys())
    ]
    if not there:
        return
    said = [
        f"{document.path.name}:{line.written.line} {line.written.key}{line.finding.within}: "
        f"{line.finding.why}"
        for line in there
    ]
    hints = dict.fromkeys(line.finding.hint for line in there if line.finding.hint)
    raise ConfigError("\n".join(said), hint="\n".join(hints))


def _agreed(lines: list[Line]) -> list[Line]:
    """Let the first of two keys that say different things of one setting win, and say so."""
    first: dict[str, tuple[Any, str]] = {}
    found = []
    for line in lines:
        if line.finding.kind == "refused":  # the keys it concerns are given by hand
            found.append(_instead(line, left(line.finding.why)))
            continue
        ours = line.finding.ours.items() if line.finding.kind == "taken" else ()
        earlier = [(value, first.setdefault(key, (value, line.written.key))) for key, value in ours]
        clashes = [key for value, (said, key) in earlier if value != said]
        if clashes:
            why = text(f"{clashes[0]} says otherwise", f"与 {clashes[0]} 矛盾")
            found.append(_instead(line, left(why)))
        else:
            found.append(line)
    return found


def _by_hand(lines: list[Line], asked: Settings) -> list[Line]:
    """Say once of a key all of whose settings are given by hand that it is not needed."""
    given: dict[str, bool] = {}
    for line in lines:
        if line.finding.kind in ("taken", "refused") and line.finding.ours:
            covered = line.finding.ours.keys() <= asked.entries.keys()
            given[line.written.key] = given.get(line.written.key, True) and covered
    why = text("the value given by hand is taken", "以直接给出的值为准")
    once = {line.written.key: Line(line.written, Finding("replaced", why=why)) for line in lines}
    found = [
        once.pop(line.written.key, None) if given.get(line.written.key) else line for line in lines
    ]
    return [line for line in found if line is not None]


def _instead(line: Line, finding: Finding) -> Line:
    """Return the line with another fate, for the same part of its value."""
    return replace(line, finding=replace(finding, within=line.finding.within))


def _added(lines: list[Line], given: Given, tool: Tool) -> list[Added]:
    ours = {
        key: value
        for line in lines
        if line.finding.kind == "taken"
        for key, value in line.finding.ours.items()
    }
    return [one for one in tool.defaults(ours, given) if one.key not in ours]


def _settings(
    document: Document, lines: list[Line], added: list[Added], asked: Settings
) -> Settings:
    name = document.path.name
    settings = Settings(name, problems=list(asked.problems))
    stage = {
        **{one.key: one.value for one in added},
        **{key: value for line in lines for key, value in line.finding.ours.items()},
        **asked.values(),
    }.get("stage", "sft")
    there = {card.name for card in cards(METHODS[stage].config)} if stage in METHODS else set()
    for one in added:
        if one.key in there:  # a default of a setting that this stage does not have says nothing
            settings.entries[one.key] = YamlEntry(one.value, name, 0, one.key)
    for line in lines:
        if line.finding.kind != "taken":
            continue
        for key, value in line.finding.ours.items():
            if value is not None:
                where = f"{name}:{line.written.line}"
                settings.entries[key] = YamlEntry(value, where, line.written.line, line.written.key)
    settings.entries |= asked.entries
    return settings


def _without(problems: list[ConfigProblem], lines: list[Line], document: Document) -> list[Line]:
    """Move the settings that are not accepted to what is not taken; raise for essential ones."""
    wrong = {problem.key: problem for problem in problems}
    from_file = {
        key
        for line in lines
        if line.finding.kind == "taken"
        for key in line.finding.ours
        if key in wrong and wrong[key].where.startswith(f"{document.path.name}:")
    }
    final = [one for one in problems if one.key in ESSENTIAL or one.key not in from_file]
    if final:
        raise ConfigError(
            "\n".join(_said(one, lines) for one in final),
            hint=text(
                f"give it by hand: swiftbox import {document.path} key=value",
                f"请直接给出：swiftbox import {document.path} key=value",
            ),
        )
    found = []
    for line in lines:
        keys = [key for key in line.finding.ours if key in from_file]
        if line.finding.kind != "taken" or not keys:
            found.append(line)
            continue
        rest = {key: value for key, value in line.finding.ours.items() if key not in keys}
        if rest:
            found.append(replace(line, finding=replace(line.finding, ours=rest)))
        for key in keys:
            what = wrong[key].what if key == line.written.key else f"{key} {wrong[key].what}"
            found.append(_instead(line, left(what)))
    return found


def _said(problem: ConfigProblem, lines: list[Line]) -> str:
    """Say a mistake under the name that the key has in the foreign file."""
    theirs = next(
        (
            line.written.key
            for line in lines
            if problem.key in line.finding.ours and problem.where.endswith(f":{line.written.line}")
        ),
        problem.key,
    )
    return f"{problem.where} {theirs}: {problem.what}"


def _applies(key: str, loaded: Loaded) -> bool:
    values = loaded.config.model_dump()
    return any(card.name == key and card.applies(values) for card in cards(type(loaded.config)))


def _in_scope(lines: list[Line], loaded: Loaded) -> list[Line]:
    """Say of settings that mean nothing with the choices made why they were not written."""
    values: Mapping[str, Any] = loaded.config.model_dump()
    scopes = {
        card.name: " ".join(f"{key}: {' | '.join(map(str, ok))}" for key, ok in card.only.items())
        for card in cards(type(loaded.config))
        if not card.applies(values)
    }
    found = []
    for line in lines:
        ours = line.finding.ours if line.finding.kind == "taken" else {}
        if ours and all(key in scopes for key in ours):
            scope = scopes[next(iter(ours))]
            why = text(f"matters only with {scope}", f"仅在 {scope} 时有意义")
            found.append(_instead(line, idle(why)))
        else:
            found.append(line)
    return found
