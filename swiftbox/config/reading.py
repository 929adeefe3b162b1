"""Read a flat YAML with the line of every key; mistakes are collected, never raised one by one."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from swiftbox.config.aliases import ALIASES, OWN_OF_TASK, OWN_VALUES
from swiftbox.errors import ConfigError
from swiftbox.language import text

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class YamlEntry:
    """One setting as it was written: where (`a.yaml:7` or `key=value`), and its plain text."""

    value: Any
    where: str
    order: int
    written_as: str
    plain: str | None = None
    node: Any = field(default=None, compare=False, repr=False)
    """What YAML made of a list: blocks in it have keys with lines of their own."""


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake: where, which key, what is wrong."""

    where: str
    key: str
    what: str
    order: int = 0

    def __str__(self) -> str:
        return f"{self.where} {self.key}: {self.what}" if self.key else f"{self.where} {self.what}"


@dataclass
class Settings:
    """The settings of one file under our own names, with what there is to say about them."""

    source: str
    entries: dict[str, YamlEntry] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[ConfigProblem] = field(default_factory=list)
    first: int = 0
    """The line where they begin."""
    inside: set[str] = field(default_factory=set)
    """Keys that were given inside blocks, as `block.key`."""

    def values(self) -> dict[str, Any]:
        """Return the plain mapping of key to value."""
        return {key: entry.value for key, entry in self.entries.items()}

    def fail(self) -> None:
        """Raise all problems found so far as one error."""
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda one: one.order)
        count = len(ordered)
        task = self.entries["task"].value if "task" in self.entries else "train"
        hint = text(
            f"{count} thing{'s' if count > 1 else ''} to mend; "
            f"`swiftbox schema {task}` lists every key with its values",
            f"共 {count} 处需要修改；`swiftbox schema {task}` 列出所有键及取值",
        )
        raise ConfigError("\n".join(str(one) for one in ordered), hint=hint)


def read_file(path: Path, overrides: Iterable[str] = ()) -> Settings:
    """Read a YAML file and the `key=value` overrides that follow it."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            text(f"{path}: no such file", f"{path}：文件不存在"),
            hint=text(
                "`swiftbox new sft-lora -o a.yaml` writes one to start from",
                "`swiftbox new sft-lora -o a.yaml` 可生成一份起始文件",
            ),
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            text(f"{path}: cannot be read ({error})", f"{path}：无法读取（{error}）")
        ) from None
    return read_text(content, source=path.name, overrides=overrides)


def read_text(content: str, *, source: str, overrides: Iterable[str] = ()) -> Settings:
    """Read YAML text; `source` names it in messages."""
    settings = Settings(source)
    written = written_entries(content, settings)
    if not written:
        settings.fail()  # what is not YAML lacks every key: that alone is worth saying
    combine(written, _override_entries(overrides, settings, first=len(written)), settings)
    return settings


def combine(
    written: Mapping[str, YamlEntry], asked: Mapping[str, YamlEntry], settings: Settings
) -> None:
    """Put what a file says under our own names, and what was asked for beside it over that."""
    task = (asked.get("task") or written.get("task") or YamlEntry("train", "", 0, "task")).value
    own = OWN_OF_TASK.get(str(task), frozenset())
    _normalise(written, settings, own)
    base = dict(settings.entries)
    settings.entries.clear()
    _normalise(asked, settings, own)
    settings.entries = {**base, **settings.entries}


def written_entries(content: str, settings: Settings) -> dict[str, YamlEntry]:
    """Return the top-level keys of YAML text as they are written; add mistakes to `settings`."""
    loader = Loader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            settings.problems.append(
                ConfigProblem(
                    f"{settings.source}:{node.start_mark.line + 1}",
                    "",
                    text("should be lines of `key: value`", "应为若干行 `key: value`"),
                )
            )
            return {}
        return entries_of(loader, node.value, settings, file=settings.source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = error.problem or error.context or "?"
        settings.problems.append(
            ConfigProblem(
                f"{settings.source}:{line}",
                "",
                text(f"is not YAML: {what}", f"不是合法的 YAML：{what}"),
                line,
            )
        )
        return {}
    finally:
        loader.dispose()


def entries_of(
    loader: Any, pairs: Sequence[tuple[Any, Any]], settings: Settings, *, file: str
) -> dict[str, YamlEntry]:
    """Return the keys of one block of a file; add those that are given twice to the problems."""
    found: dict[str, YamlEntry] = {}
    for key_node, value_node in pairs:
        entry = _entry(loader, key_node, value_node, file)
        if entry.written_as in found:
            settings.problems.append(
                ConfigProblem(
                    entry.where,
                    entry.written_as,
                    text(
                        f"given twice (first at {found[entry.written_as].where})",
                        f"重复出现（首次在 {found[entry.written_as].where}）",
                    ),
                    entry.order,
                )
            )
        found[entry.written_as] = entry
    return found


def _entry(loader: Any, key_node: Any, value_node: Any, source: str) -> YamlEntry:
    line = key_node.start_mark.line + 1
    return YamlEntry(
        value=loader.construct_object(value_node, deep=True),
        where=f"{source}:{line}",
        order=line,
        written_as=str(key_node.value),
        plain=value_node.value if isinstance(value_node, yaml.ScalarNode) else None,
        node=value_node if isinstance(value_node, yaml.SequenceNode) else None,
    )


def _override_entries(
    overrides: Iterable[str], settings: Settings, *, first: int
) -> dict[str, YamlEntry]:
    found: dict[str, YamlEntry] = {}
    for index, one in enumerate(overrides):
        key, separator, plain = one.partition("=")
        order = 1_000_000 + first + index
        if not separator or not key:
            settings.problems.append(
                ConfigProblem(one, "", text("should be key=value", "应写成 key=value"), order)
            )
            continue
        value, node = _of_plain(plain)
        found[key] = YamlEntry(value, f"{key}={plain}", order, key, plain, node)
    return found


def _of_plain(plain: str) -> tuple[Any, Any]:
    """Return the value of a text, and its node where it is a list."""
    try:
        value = yaml.load(plain, Loader=Loader) if plain else None
    except yaml.YAMLError:
        return plain, None
    return value, yaml.compose(plain, Loader=Loader) if isinstance(value, list) else None


def _normalise(written: Mapping[str, YamlEntry], settings: Settings, own: Collection[str]) -> None:
    """Put every entry under our own name, those in `own` as they are; note what is renamed.

    Two names that disagree are a problem.
    """
    for name, entry in written.items():
        alias = ALIASES.get(name) if name not in own else None
        translated = alias.translate(entry.value) if alias else None
        if translated is None:
            value = entry.value
            if name in OWN_VALUES and isinstance(value, (str, int)):
                value = OWN_VALUES[name].get(value, value)
            plain = entry.plain if value is entry.value else None
            _put(name, replace(entry, value=value, plain=plain), settings)
            continue
        ours = ", ".join(f"{key}: {value}" for key, value in translated.items())
        settings.notes.append(
            text(
                f"{entry.where} {name} is read as {ours or 'nothing to set'}",
                f"{entry.where} {name} 读作 {ours or '无需设置'}",
            )
        )
        for key, value in translated.items():
            plain = entry.plain if value is entry.value else None
            _put(key, replace(entry, value=value, plain=plain), settings)


def _put(key: str, entry: YamlEntry, settings: Settings) -> None:
    earlier = settings.entries.get(key)
    if earlier and earlier.written_as != entry.written_as and earlier.value != entry.value:
        settings.problems.append(
            ConfigProblem(
                entry.where,
                entry.written_as,
                text(
                    f"says {key}: {entry.value}, but {earlier.written_as} "
                    f"({earlier.where}) says {earlier.value}",
                    f"表示 {key}: {entry.value}，但 {earlier.written_as}"
                    f"（{earlier.where}）表示 {earlier.value}",
                ),
                entry.order,
            )
        )
        return
    settings.entries[key] = entry


def plain_text(entry: YamlEntry) -> Any:
    """Return what was typed where YAML 1.1 made a number, a date or a boolean of it."""
    made = (bool, int, float, datetime.date)
    if isinstance(entry.value, made) and entry.plain is not None:
        return entry.plain
    return entry.value
