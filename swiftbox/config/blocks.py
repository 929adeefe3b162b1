"""Read the blocks of a pipeline's `steps:`, each as its own file, with the line of each key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from swiftbox.config.reading import (
    ConfigProblem,
    Loader,
    Settings,
    YamlEntry,
    combine,
    entries_of,
    plain_text,
)
from swiftbox.language import text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
ASKED_FROM = 1_000_000
"""The order of what was asked for on the command line begins here; a file has fewer lines."""


@dataclass(frozen=True)
class Block:
    """One step as it is written: its name, where it begins, its settings."""

    name: str
    where: str
    settings: Settings


def blocks(steps: YamlEntry, outer: Settings) -> Iterator[Block]:
    """Yield the blocks of a list; what is wrong with list and names goes to `outer`.

    Settings of `outer` that are called `name.key` are taken from there and put over the block's.
    """
    file = steps.where.rpartition(":")[0] if steps.order < ASKED_FROM else steps.written_as
    asked = _addressed(outer)
    seen: dict[str, str] = {}
    for number, node in enumerate(_nodes(steps, outer), start=1):
        line = node.start_mark.line + 1
        where = f"{file}:{line}"
        inner = Settings(where, first=line)
        own, inherited = _pairs(node)
        loader = Loader("")
        try:
            written = {
                **entries_of(loader, inherited, Settings(where), file=file),
                **entries_of(loader, own, inner, file=file),
            }
        finally:
            loader.dispose()
        name = _name(written.pop("name", None), number, where, outer)
        if name in seen:
            outer.problems.append(_twice(name, where, seen[name], line))
        seen[name] = where
        combine(written, asked.pop(name, {}), inner)
        yield Block(name, where, inner)
    for name, entries in asked.items():
        for entry in entries.values():
            outer.problems.append(_nowhere(name, entry, list(seen)))


def adopt(block: Block, outer: Settings) -> None:
    """Hand on what there is to say of a block, under the names that its keys have outside."""
    outer.notes.extend(block.settings.notes)
    for one in block.settings.problems:
        key = f"{block.name}.{one.key}" if one.key else block.name
        outer.problems.append(replace(one, key=key))
    outer.inside.update(f"{block.name}.{key}" for key in block.settings.entries)


def _addressed(outer: Settings) -> dict[str, dict[str, YamlEntry]]:
    """Take the settings that address a step from the command line, by the step's name."""
    found: dict[str, dict[str, YamlEntry]] = {}
    for key in [one for one in outer.entries if "." in one]:
        if outer.entries[key].order < ASKED_FROM:
            continue
        name, _, inner = key.partition(".")
        found.setdefault(name, {})[inner] = replace(outer.entries.pop(key), written_as=inner)
    return found


def _nodes(steps: YamlEntry, outer: Settings) -> list[Any]:
    nodes = steps.node.value if steps.node is not None else []
    wrong = [one for one in nodes if not isinstance(one, yaml.MappingNode)]
    if nodes and not wrong:
        return list(nodes)
    outer.problems.append(
        ConfigProblem(
            steps.where,
            steps.written_as,
            text(
                "should be a list of blocks, each with name:, task: and the keys of that task",
                "应为若干块的列表，每块含 name:、task: 及该任务的键",
            ),
            steps.order,
        )
    )
    return [one for one in nodes if one not in wrong]


def _pairs(node: Any) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """Return a block's own keys, and those that `<<: *another` brought into it from elsewhere."""
    begin, end = node.start_mark.index, node.end_mark.index
    own = [one for one in node.value if begin <= one[0].start_mark.index <= end]
    return own, [one for one in node.value if one not in own]


def _name(entry: YamlEntry | None, number: int, where: str, outer: Settings) -> str:
    stands_in = f"steps[{number}]"
    if entry is None:
        what = text(
            "name: is required: later steps and `swiftbox run FILE name.key=value` call it by that",
            "name：必填，后面的步骤与 `swiftbox run FILE name.key=value` 以此称呼它",
        )
        order = int(where.rpartition(":")[2])
        outer.problems.append(ConfigProblem(where, stands_in, what, order))
        return stands_in
    name = str(plain_text(entry))
    if NAME.fullmatch(name) is None:
        what = text(
            f"should be up to 40 letters, digits, - and _ (got {name})",
            f"应为至多 40 个字母、数字、- 与 _（当前为 {name}）",
        )
        outer.problems.append(ConfigProblem(entry.where, "name", what, entry.order))
        return stands_in
    return name


def _twice(name: str, where: str, first: str, line: int) -> ConfigProblem:
    what = text(f"{name} names two steps (the first at {first})", f"{name} 重名（首个在 {first}）")
    return ConfigProblem(where, "name", what, line)


def _nowhere(name: str, entry: YamlEntry, known: list[str]) -> ConfigProblem:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    what = text(f"no step is named {name}", f"没有名为 {name} 的步骤")
    listed = ", ".join(known)
    what += (
        text(f"; did you mean {near[0]}?", f"；是否想写 {near[0]}？")
        if near
        else text(f"; there are {listed}", f"；可选：{listed}")
    )
    return ConfigProblem(entry.where, f"{name}.{entry.written_as}", what, entry.order)


def keys_of(entries: Mapping[str, YamlEntry]) -> Iterator[tuple[str, YamlEntry]]:
    """Yield what a block says, key by key, in the order of its lines."""
    yield from sorted(entries.items(), key=lambda one: one[1].order)
