"""Read a flat YAML with the line of every key; mistakes are collected, never raised one by one."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from swiftbox.config.aliases import ALIASES, TASK_KEYS, VALUE_ALIASES
from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.formatting import counted
from swiftbox.language import text

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

FIRST_OVERRIDE = 1_000_000
"""The order of overrides begins here; a file has fewer lines."""


@dataclass(frozen=True)
class YamlEntry:
    """One setting as it was written: where (`a.yaml:7` or `key=value`), and its plain text."""

    value: Any
    where: str
    order: int
    written_as: str
    plain: str | None = None
    node: Any = field(default=None, compare=False, repr=False)
    """The YAML node of a list: blocks in it have keys with lines of theirs."""


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake: where, which key, what is wrong."""

    where: str
    key: str
    what: str
    order: int = 0

    def __str__(self) -> str:
        overridden, equals, _ = self.where.partition("=")
        is_named = equals and f".{overridden}".endswith(f".{self.key}")
        if is_named or not self.key:
            return f"{self.where} {self.what}"
        return f"{self.where} {self.key}: {self.what}"


@dataclass
class Settings:
    """The settings of one file under our names, with the notes and problems found in them."""

    source: str
    entries: dict[str, YamlEntry] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[ConfigProblem] = field(default_factory=list)
    first_line: int = 0
    """The line where they begin."""
    block_keys: set[str] = field(default_factory=set)
    """Keys that were set inside blocks, as `block.key`."""

    def values(self) -> dict[str, Any]:
        """Return the plain mapping of key to value."""
        return {key: entry.value for key, entry in self.entries.items()}

    def fail(self) -> None:
        """Raise all problems found so far as one error."""
        if not self.problems:
            return
        problems = sorted(dict.fromkeys(self.problems), key=lambda problem: problem.order)
        count = len(problems)
        hint = text(
            f"{counted(count, 'error')} to fix; "
            f"`swiftbox schema {self._task()}` lists every key with its values",
            f"共 {count} 处错误；`swiftbox schema {self._task()}` 列出所有键及取值",
        )
        raise ConfigError("\n".join(map(str, problems)), hint=hint)

    def _task(self) -> str:
        if "task" in self.entries:
            return str(self.entries["task"].value)
        return "TASK" if any(problem.key == "task" for problem in self.problems) else "train"


def read_file(path: Path, overrides: Iterable[str] = ()) -> Settings:
    """Read a YAML file and the `key=value` overrides that follow it."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            text(f"{path}: no such file", f"{path}：文件不存在"),
            hint=text(
                "`swiftbox new sft-lora -o a.yaml` writes a file to start from",
                "`swiftbox new sft-lora -o a.yaml` 可生成一份起始文件",
            ),
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = text("it is not UTF-8 text", "不是 UTF-8 文本")
        if isinstance(error, OSError):
            reason = reason_of(error)
        raise ConfigError(
            text(f"{path}: cannot be read ({reason})", f"{path}：无法读取（{reason}）"),
            hint=text("give a YAML file in UTF-8", "请给出 UTF-8 编码的 YAML 文件"),
        ) from None
    return read_text(content, source=path.name, overrides=overrides)


def read_text(content: str, *, source: str, overrides: Iterable[str] = ()) -> Settings:
    """Read YAML text; `source` names it in messages."""
    settings = Settings(source)
    written = written_entries(content, settings)
    if not written:
        settings.fail()  # text that is not YAML lacks every key: report only that
    combine(written, _override_entries(overrides, settings, first=len(written)), settings)
    return settings


def combine(
    written: Mapping[str, YamlEntry], overrides: Mapping[str, YamlEntry], settings: Settings
) -> None:
    """Put the entries of a file under our names, and the overrides over them."""
    default = YamlEntry("train", "", 0, "task")
    task = (overrides.get("task") or written.get("task") or default).value
    task_keys = TASK_KEYS.get(str(task), frozenset())
    _normalise(written, settings, task_keys)
    from_file = dict(settings.entries)
    settings.entries.clear()
    _normalise(overrides, settings, task_keys)
    settings.entries = {**from_file, **settings.entries}


def written_entries(content: str, settings: Settings) -> dict[str, YamlEntry]:
    """Return the top-level keys of YAML text as they are written; add mistakes to `settings`."""
    loader = Loader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            what = text("should be lines of `key: value`", "应为若干行 `key: value`")
            _add_problem_of_line(settings, node.start_mark.line + 1, what)
            return {}
        return entries_of(loader, node.value, settings, file=settings.source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        _add_problem_of_line(settings, line, _yaml_mistake(error, content.splitlines(), line))
        return {}
    finally:
        loader.dispose()


def _yaml_mistake(error: yaml.MarkedYAMLError, lines: Sequence[str], number: int) -> str:
    """Describe why text is not YAML; a tab in front of a line is named as such."""
    line = lines[number - 1] if number <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return text("is indented with a tab; use spaces", "用制表符缩进；请改用空格")
    cause = error.problem or error.context or "?"
    return text(f"is not YAML: {cause}", f"不是合法的 YAML：{cause}")


def _add_problem_of_line(settings: Settings, line: int, what: str) -> None:
    settings.problems.append(ConfigProblem(f"{settings.source}:{line}", "", what, line))


def entries_of(
    loader: Any, pairs: Sequence[tuple[Any, Any]], settings: Settings, *, file: str
) -> dict[str, YamlEntry]:
    """Return the keys of one block of a file; add repeated keys to the problems."""
    entries: dict[str, YamlEntry] = {}
    for key_node, value_node in pairs:
        entry = _entry(loader, key_node, value_node, file)
        if entry.written_as in entries:
            earlier = entries[entry.written_as].where
            what = text(f"given twice (first at {earlier})", f"重复出现（首次在 {earlier}）")
            settings.problems.append(
                ConfigProblem(entry.where, entry.written_as, what, entry.order)
            )
        entries[entry.written_as] = entry
    return entries


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
    entries: dict[str, YamlEntry] = {}
    for order, override in enumerate(overrides, start=FIRST_OVERRIDE + first):
        key, separator, plain = override.partition("=")
        if not separator or not key:
            what = text("should be key=value", "应写成 key=value")
            settings.problems.append(ConfigProblem(override, "", what, order))
            continue
        value, node = _parsed_override(plain)
        entries[key] = YamlEntry(value, f"{key}={plain}", order, key, plain, node)
    return entries


def _parsed_override(plain: str) -> tuple[Any, Any]:
    """Return the value of a text, and its node where it is a list."""
    try:
        value = yaml.load(plain, Loader=Loader) if plain else None
    except yaml.YAMLError:
        return plain, None
    return value, yaml.compose(plain, Loader=Loader) if isinstance(value, list) else None


def _normalise(
    written: Mapping[str, YamlEntry], settings: Settings, task_keys: Collection[str]
) -> None:
    """Put every entry under our name, those in `task_keys` unchanged; note what is renamed.

    Two names that disagree are a problem.
    """
    for name, entry in written.items():
        alias = ALIASES.get(name) if name not in task_keys else None
        translated = alias.translate(entry.value) if alias else None
        if translated is None:
            value = entry.value
            if name in VALUE_ALIASES and isinstance(value, (str, int)):
                value = VALUE_ALIASES[name].get(value, value)
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
        what = text(
            f"sets {key}: {entry.value}, but {earlier.written_as} "
            f"({earlier.where}) sets {earlier.value}",
            f"表示 {key}: {entry.value}，但 {earlier.written_as}"
            f"（{earlier.where}）表示 {earlier.value}",
        )
        settings.problems.append(ConfigProblem(entry.where, entry.written_as, what, entry.order))
        return
    settings.entries[key] = entry


def plain_text(entry: YamlEntry) -> Any:
    """Return what was typed where YAML 1.1 reads a number, a date or a boolean."""
    converted = (bool, int, float, datetime.date)
    if isinstance(entry.value, converted) and entry.plain is not None:
        return entry.plain
    return entry.value
