"""The account of an import: the YAML with its header, the lines for people, the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swiftbox.config.writing import scalar, write
from swiftbox.converters.trainer import is_secret
from swiftbox.converters.translating import Imported, Line
from swiftbox.language import text

LONGEST_VALUE = 60
LINE_WIDTH = 96


def yaml_of(imported: Imported, target: str) -> str:
    """Return the YAML, whose header says what it came from and what was not taken."""
    reasons = {
        key: line.finding.why
        for line in imported.of_kind("taken")
        if line.finding.why
        for key in line.finding.ours
    }
    reasons |= {one.key: one.why for one in imported.added}
    return write(
        imported.loaded.config,
        header=list(_header(imported, target)),
        keys=imported.loaded.keys | {"stage", "tuner_type"},
        reasons=reasons,
    )


def _header(imported: Imported, target: str) -> Iterator[str]:
    name, title = imported.document.path.name, imported.recognised.tool.title
    yield text(f"Imported from {title}: {name}", f"由 {title} 的 {name} 导入")
    yield text(f"Run: swiftbox run {target}", f"运行：swiftbox run {target}")
    for kind, words in (
        ("replaced", text("Given by hand instead: ", "已直接给出：")),
        ("idle", text("Means nothing here: ", "此处无意义：")),
        ("left", text("Not taken: ", "未采用：")),
    ):
        keys = dict.fromkeys(_name(line) for line in imported.of_kind(kind))
        yield from _wrapped(words, list(keys))


def _wrapped(start: str, keys: list[str]) -> Iterator[str]:
    line = start
    for index, key in enumerate(keys):
        piece = key + (", " if index + 1 < len(keys) else "")
        if len(line) + len(piece) > LINE_WIDTH and line.strip():
            yield line.rstrip()
            line = "    "
        line += piece
    if keys:
        yield line


def lines_of(imported: Imported) -> Iterator[str]:
    """Yield the account for people: taken, added, meaningless, not taken."""
    recognised = imported.recognised
    by = ", ".join(recognised.by[:5])
    name, title = imported.document.path.name, recognised.tool.title
    yield text(f"{name} is a config of {title}, by {by}", f"{name} 是 {title} 的配置（依据：{by}）")
    taken = imported.of_kind("taken")
    yield text(f"taken ({len(taken)}):", f"已采用（{len(taken)}）：")
    for line in taken:
        ours = ", ".join(f"{key}: {shown(value)}" for key, value in line.finding.ours.items())
        yield _aligned(f"{line.written.line} {_name(line)} -> {ours or '...'}", line.finding.why)
    if imported.added:
        yield text(f"defaults of {title}, written down:", f"{title} 的默认值，已写明：")
        for one in imported.added:
            yield _aligned(f"{one.key}: {shown(one.value)}")
    for kind, heading in (
        ("replaced", text("given by hand instead", "已直接给出")),
        ("idle", text("means nothing here", "此处无意义")),
        ("left", text("not taken", "未采用")),
    ):
        found = imported.of_kind(kind)
        if found:
            yield text(f"{heading} ({len(found)}):", f"{heading}（{len(found)}）：")
        for line in found:
            yield _aligned(f"{line.written.line} {_name(line)}{_value(line)}", line.finding.why)


def _aligned(plain: str, why: str = "") -> str:
    return f"  {plain}" + (f"  # {why}" if why else "")


def _name(line: Line) -> str:
    return line.written.key + line.finding.within


def _value(line: Line) -> str:
    """Return the value behind a key; nothing where only a part of it is meant."""
    if line.finding.within:
        return ""
    return ": ***" if is_secret(line.written.key) else f": {shown(line.written.value)}"


def shown(value: Any) -> str:
    """Return a value on one line, shortened."""
    plain = scalar(value)
    return plain if len(plain) <= LONGEST_VALUE else plain[: LONGEST_VALUE - 3] + "..."


def as_json(imported: Imported, content: str, target: str | None) -> dict[str, Any]:
    """Return the account for programs."""
    return {
        "ok": True,
        "tool": imported.recognised.tool.name,
        "recognised_by": list(imported.recognised.by),
        "taken": [
            {**_plain(line), "ours": dict(line.finding.ours)} for line in imported.of_kind("taken")
        ],
        "added": [{"key": one.key, "value": one.value, "why": one.why} for one in imported.added],
        "replaced": [_plain(line) for line in imported.of_kind("replaced")],
        "idle": [_plain(line) for line in imported.of_kind("idle")],
        "not_taken": [_plain(line) for line in imported.of_kind("left")],
        "config": imported.loaded.config.model_dump(mode="json"),
        "yaml": content,
        "written": target,
    }


def _plain(line: Line) -> dict[str, Any]:
    written, finding = line.written, line.finding
    return {
        "key": written.key + finding.within,
        "line": written.line,
        "value": "***" if is_secret(written.key) else written.value,
        "why": finding.why,
    }
