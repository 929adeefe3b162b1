"""Read the blocks of a pipeline's `steps:`, each like a file, with the line of each key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from swiftbox.config.reading import (
    FIRST_OVERRIDE,
    ConfigProblem,
    Settings,
    YamlEntry,
    combine,
    entries_of,
    plain_text,
)
from swiftbox.config.yaml_nodes import Loader
from swiftbox.formatting import nearest, suggestion_ending
from swiftbox.language import text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Block:
    """One step as it is written: its name, where it begins, its settings."""

    name: str
    where: str
    settings: Settings


def read_blocks(steps: YamlEntry, outer: Settings) -> Iterator[Block]:
    """Yield the blocks of a list; problems of the list and of names are added to `outer`.

    Overrides in `outer` of the form `name.key` are taken from there and put over the block's.
    """
    file = steps.where.rpartition(":")[0] if steps.order < FIRST_OVERRIDE else steps.written_as
    overrides = _overrides_by_step(outer)
    places: dict[str, str] = {}
    for number, node in enumerate(_nodes(steps, outer), start=1):
        line = node.start_mark.line + 1
        where = f"{file}:{line}"
        inner = Settings(where, first_line=line)
        written = _written(node, inner, file)
        name = _name(written.pop("name", None), number, where, outer)
        if name in places:
            outer.problems.append(_repeated_name(name, where, places[name], line))
        places[name] = where
        combine(written, overrides.pop(name, {}), inner)
        yield Block(name, where, inner)
    for name, entries in overrides.items():
        for entry in entries.values():
            outer.problems.append(_no_such_step(name, entry, list(places)))


def report(block: Block, outer: Settings) -> None:
    """Add the notes, problems and keys of a block to the file's, as `block.key`."""
    outer.notes.extend(block.settings.notes)
    for problem in block.settings.problems:
        key = f"{block.name}.{problem.key}" if problem.key else block.name
        outer.problems.append(replace(problem, key=key))
    outer.block_keys.update(f"{block.name}.{key}" for key in block.settings.entries)


def _overrides_by_step(outer: Settings) -> dict[str, dict[str, YamlEntry]]:
    """Take the overrides that address a step, by the step's name."""
    overrides: dict[str, dict[str, YamlEntry]] = {}
    for key in [key for key in outer.entries if "." in key]:
        if outer.entries[key].order < FIRST_OVERRIDE:
            continue
        name, _, inner = key.partition(".")
        overrides.setdefault(name, {})[inner] = replace(outer.entries.pop(key), written_as=inner)
    return overrides


def _nodes(steps: YamlEntry, outer: Settings) -> list[Any]:
    nodes = list(steps.node.value) if steps.node is not None else []
    blocks = [node for node in nodes if isinstance(node, yaml.MappingNode)]
    if not nodes or len(blocks) < len(nodes):
        what = text(
            "should be a list of blocks, each with a name, a task and the keys of that task",
            "应为若干块的列表，每块含 name、task 及该任务的键",
        )
        outer.problems.append(ConfigProblem(steps.where, steps.written_as, what, steps.order))
    return blocks


def _written(node: Any, inner: Settings, file: str) -> dict[str, YamlEntry]:
    """Return the entries of a block over those that `<<: *another` brings into it."""
    begin, end = node.start_mark.index, node.end_mark.index
    inside = [pair for pair in node.value if begin <= pair[0].start_mark.index <= end]
    inherited = [pair for pair in node.value if pair not in inside]
    loader = Loader("")
    try:
        return {
            **entries_of(loader, inherited, Settings(inner.source), file=file),
            **entries_of(loader, inside, inner, file=file),
        }
    finally:
        loader.dispose()


def _name(entry: YamlEntry | None, number: int, where: str, outer: Settings) -> str:
    placeholder = f"steps[{number}]"
    if entry is None or entry.value is None:
        what = text(
            "name: is required; later steps and `swiftbox run FILE name.key=value` refer to it",
            "name：必填，后面的步骤与 `swiftbox run FILE name.key=value` 以此引用该步骤",
        )
        order = int(where.rpartition(":")[2])
        outer.problems.append(ConfigProblem(where, placeholder, what, order))
        return placeholder
    name = str(plain_text(entry))
    if NAME.fullmatch(name) is None:
        what = text(
            f"should be up to 40 letters, digits, - and _ (got {name})",
            f"应为至多 40 个字母、数字、- 与 _（当前为 {name}）",
        )
        outer.problems.append(ConfigProblem(entry.where, "name", what, entry.order))
        return placeholder
    return name


def _repeated_name(name: str, where: str, first: str, line: int) -> ConfigProblem:
    what = text(f"{name} names two steps (the first at {first})", f"{name} 重名（首个在 {first}）")
    return ConfigProblem(where, "name", what, line)


def _no_such_step(name: str, entry: YamlEntry, known: list[str]) -> ConfigProblem:
    what = text(f"no step is named {name}", f"没有名为 {name} 的步骤")
    listed = ", ".join(known)
    what += suggestion_ending(nearest(name, known, cutoff=0.5)) or text(
        f"; there are {listed}", f"；可选：{listed}"
    )
    return ConfigProblem(entry.where, f"{name}.{entry.written_as}", what, entry.order)


def in_line_order(entries: Mapping[str, YamlEntry]) -> Iterator[tuple[str, YamlEntry]]:
    """Yield the keys of a block in the order of their lines."""
    yield from sorted(entries.items(), key=lambda item: item[1].order)
