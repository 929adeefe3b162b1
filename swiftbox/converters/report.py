"""The report of an import: the YAML with its header, lines for people, and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swiftbox.config.writing import scalar, write
from swiftbox.converters.conversion import Imported, Line
from swiftbox.converters.trainer_keys import is_secret
from swiftbox.language import text

LONGEST_VALUE = 60
LINE_WIDTH = 96


def yaml_of(imported: Imported, target: str) -> str:
    """Return the YAML; its header names the source and what was not adopted."""
    reasons = {
        key: line.outcome.why
        for line in imported.lines_of_kind("adopted")
        if line.outcome.why
        for key in line.outcome.ours
    }
    reasons |= {default.key: default.why for default in imported.added}
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
    for kind, heading in (
        ("replaced", text("Set on the command line: ", "已直接给出：")),
        ("no_effect", text("No effect here: ", "此处无意义：")),
        ("unsupported", text("Not supported: ", "未采用：")),
    ):
        keys = dict.fromkeys(_name(line) for line in imported.lines_of_kind(kind))
        yield from _wrapped(heading, list(keys))


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
    """Yield the report for people: adopted, added, without effect, unsupported."""
    recognised = imported.recognised
    keys = ", ".join(recognised.by[:5])
    name, title = imported.document.path.name, recognised.tool.title
    yield text(
        f"{name} is a config of {title} (recognized by {keys})",
        f"{name} 是 {title} 的配置（依据：{keys}）",
    )
    taken = imported.lines_of_kind("adopted")
    yield text(f"adopted ({len(taken)}):", f"已采用（{len(taken)}）：")
    for line in taken:
        ours = ", ".join(f"{key}: {shown(value)}" for key, value in line.outcome.ours.items())
        yield _aligned(f"{line.setting.line} {_name(line)} -> {ours or '...'}", line.outcome.why)
    if imported.added:
        yield text(f"defaults of {title}, made explicit:", f"{title} 的默认值，已写明：")
        for default in imported.added:
            yield _aligned(f"{default.key}: {shown(default.value)}")
    for kind, heading in (
        ("replaced", text("set on the command line", "已直接给出")),
        ("no_effect", text("no effect here", "此处无意义")),
        ("unsupported", text("not supported", "未采用")),
    ):
        lines = imported.lines_of_kind(kind)
        if lines:
            yield text(f"{heading} ({len(lines)}):", f"{heading}（{len(lines)}）：")
        for line in lines:
            yield _aligned(f"{line.setting.line} {_name(line)}{_value(line)}", line.outcome.why)


def _aligned(plain: str, why: str = "") -> str:
    return f"  {plain}" + (f"  # {why}" if why else "")


def _name(line: Line) -> str:
    return line.setting.key + line.outcome.within


def _value(line: Line) -> str:
    """Return the value after a key; empty if only a part of it is concerned."""
    if line.outcome.within:
        return ""
    return ": ***" if is_secret(line.setting.key) else f": {shown(line.setting.value)}"


def shown(value: Any) -> str:
    """Return a value on one line, shortened."""
    plain = scalar(value)
    return plain if len(plain) <= LONGEST_VALUE else plain[: LONGEST_VALUE - 3] + "..."


def as_json(imported: Imported, content: str, target: str | None) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "ok": True,
        "tool": imported.recognised.tool.name,
        "recognised_by": list(imported.recognised.by),
        "taken": [
            {**_plain(line), "ours": dict(line.outcome.ours)}
            for line in imported.lines_of_kind("adopted")
        ],
        "added": [
            {"key": default.key, "value": default.value, "why": default.why}
            for default in imported.added
        ],
        "replaced": [_plain(line) for line in imported.lines_of_kind("replaced")],
        "idle": [_plain(line) for line in imported.lines_of_kind("no_effect")],
        "not_taken": [_plain(line) for line in imported.lines_of_kind("unsupported")],
        "config": imported.loaded.config.model_dump(mode="json"),
        "yaml": content,
        "written": target,
    }


def _plain(line: Line) -> dict[str, Any]:
    setting, outcome = line.setting, line.outcome
    return {
        "key": setting.key + outcome.within,
        "line": setting.line,
        "value": "***" if is_secret(setting.key) else setting.value,
        "why": outcome.why,
    }
