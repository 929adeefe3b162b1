"""Read a flat YAML with the line of every key; mistakes are collected, never raised one by one."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from swiftbox.config.aliases import ALIASES, RATIOS, TASK_KEYS, VALUE_ALIASES
from swiftbox.config.yaml_nodes import (
    MAX_BYTES,
    MAX_KEYS,
    NON_PRINTABLE,
    Loader,
    Values,
    YamlProblem,
    composed,
    not_a_key,
)
from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.security.paths import shown
from swiftbox.security.printable import printable
from swiftbox.security.regular import read_regular

FIRST_OVERRIDE = 2_000_000
"""The order of overrides begins here; a file has fewer lines."""

BLOCKS = "steps"
"""The key whose value is a list of blocks, each read like a file."""

MAX_PROBLEMS = 50
"""Listed of one file; more do not help."""

MAX_SHOWN = 200
"""Characters of a key or value in a message."""


@dataclass(frozen=True)
class YamlEntry:
    """One setting as it was written: where (`a.yaml:7` or `key=value`), and its plain text."""

    value: Any
    where: str
    order: int
    written_as: str
    plain: str | None = None
    node: Any = field(default=None, compare=False, repr=False)
    """The YAML node of a list or mapping: blocks in it have keys with lines of theirs."""


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
        where = quoted(self.where)
        if is_named or not self.key:
            return printable(f"{where} {self.what}")
        return printable(f"{where} {quoted(self.key)}: {self.what}")


def quoted(value: Any) -> str:
    """Return a key or value as one line of a message shows it: cut or escaped where it must be."""
    plain = str(value)
    return plain if len(plain) <= MAX_SHOWN and plain.isprintable() else shown(plain)


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
        lines = [str(problem) for problem in problems[:MAX_PROBLEMS]]
        if count > MAX_PROBLEMS:
            more = count - MAX_PROBLEMS
            lines.append(text(f"... and {more:,} more", f"……另有 {more} 处"))
        raise ConfigError("\n".join(lines), hint=hint)

    def _task(self) -> str:
        if "task" in self.entries:
            return str(self.entries["task"].value)
        return "TASK" if any(problem.key == "task" for problem in self.problems) else "train"


def read_file(path: Path, overrides: Iterable[str] = ()) -> Settings:
    """Read a YAML file and the `key=value` overrides that follow it."""
    try:
        content = read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            text(f"{path}: no such file", f"{path}：文件不存在"),
            hint=text(
                "`swiftbox new sft-lora -o a.yaml` writes a file to start from",
                "`swiftbox new sft-lora -o a.yaml` 可生成一份起始文件",
            ),
        ) from None
    except (OSError, ValueError) as error:  # ValueError: the path has a zero byte, or not UTF-8
        raise read_failure(path, error) from None
    return read_text(content, source=path.name, overrides=overrides)


def read_failure(path: Path, error: OSError | ValueError) -> ConfigError:
    """Describe why a config cannot be read."""
    reason = text("no file can have this name", "文件名不合法")
    if isinstance(error, OSError):
        reason = reason_of(error)
    elif isinstance(error, UnicodeDecodeError):
        reason = text("it is not UTF-8 text", "不是 UTF-8 文本")
    where = quoted(path)
    return ConfigError(
        text(f"{where}: cannot be read ({reason})", f"{where}：无法读取（{reason}）"),
        hint=text("give a YAML file in UTF-8", "请给出 UTF-8 编码的 YAML 文件"),
    )


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
        node = composed(loader, content)
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
    if isinstance(error, YamlProblem):
        return str(error.problem)
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
    if len(pairs) > MAX_KEYS:
        what = text(f"has more than {MAX_KEYS:,} keys", f"超过 {MAX_KEYS} 个键")
        _add_problem_of_line(settings, pairs[0][0].start_mark.line + 1, what)
        return entries
    for key_node, value_node in pairs:
        if not isinstance(key_node, yaml.ScalarNode):
            _add_problem_of_line(settings, key_node.start_mark.line + 1, not_a_key())
            continue
        entry = _entry(loader, key_node, value_node, settings, file)
        if entry.written_as in entries:
            earlier = entries[entry.written_as].where
            what = text(f"given twice (first at {earlier})", f"重复出现（首次在 {earlier}）")
            settings.problems.append(
                ConfigProblem(entry.where, entry.written_as, what, entry.order)
            )
        entries[entry.written_as] = entry
    return entries


def _entry(loader: Any, key_node: Any, value_node: Any, settings: Settings, file: str) -> YamlEntry:
    line = key_node.start_mark.line + 1
    key = str(key_node.value)

    def report(line: int, what: str) -> None:
        if key != BLOCKS:  # what is wrong inside a block is reported when the block is read
            settings.problems.append(ConfigProblem(f"{file}:{line}", key, what, line))

    return YamlEntry(
        value=Values(loader, report).of(value_node),
        where=f"{file}:{line}",
        order=line,
        written_as=key,
        plain=value_node.value if isinstance(value_node, yaml.ScalarNode) else None,
        node=None if isinstance(value_node, yaml.ScalarNode) else value_node,
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
        problems: list[str] = []
        value, node = _parsed_override(plain, problems)
        settings.problems += [ConfigProblem(override, key, what, order) for what in problems]
        if key in entries and entries[key].where != override:
            settings.notes.append(_replaced(entries[key].where, override))
        entries[key] = YamlEntry(value, override, order, key, plain, node)
    return entries


def _replaced(earlier: str, later: str) -> str:
    return text(
        f"{quoted(earlier)} is not used: {quoted(later)} follows it",
        f"{quoted(earlier)} 未使用：其后有 {quoted(later)}",
    )


def _parsed_override(plain: str, problems: list[str]) -> tuple[Any, Any]:
    """Return the value of a text, and its node if it is a list or mapping.

    Text that is not YAML is a text, unless it begins like a list, a mapping or a quotation.
    """
    if NON_PRINTABLE.search(plain):  # a control character, which the check of texts reports
        return plain, None
    loader = Loader(plain)
    try:
        node = composed(loader, plain)
        if node is None:
            return None, None
        value = Values(loader, lambda _, what: problems.append(what)).of(node)
        return value, None if isinstance(node, yaml.ScalarNode) else node
    except yaml.MarkedYAMLError as error:
        if isinstance(error, YamlProblem) or plain.lstrip()[:1] in ("[", "{", '"', "'"):
            problems.append(_yaml_mistake(error, (), 1))
        return plain, None
    finally:
        loader.dispose()


def _normalise(
    written: Mapping[str, YamlEntry], settings: Settings, task_keys: Collection[str]
) -> None:
    """Put every entry under our name, those in `task_keys` unchanged; note what is renamed.

    Two names that disagree are a problem.
    """
    for name, entry in written.items():
        if name in RATIOS and isinstance(entry.value, (int, float)) and entry.value >= 1:
            what = text(
                f"is a share and should be below 1 (got {entry.value})",
                f"表示比例，应小于 1（当前为 {entry.value}）",
            )
            settings.problems.append(ConfigProblem(entry.where, name, what, entry.order))
            continue
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
