"""Recognize the tool that a config belongs to, by keys that only one tool has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from swiftbox.converters import TOOLS
from swiftbox.converters.foreign_file import Document
from swiftbox.converters.rows import ForeignTool
from swiftbox.errors import ConfigError
from swiftbox.language import text

OURS = ("task", "version")
"""Keys that no other tool uses."""

ENOUGH = 2
"""A single key of another tool may occur in any file."""


@dataclass(frozen=True)
class Recognised:
    """A tool, and the keys or the command that identified it."""

    tool: ForeignTool
    by: tuple[str, ...]


def recognise(document: Document, tool: str | None = None) -> Recognised:
    """Return the tool of a config; raise ConfigError with the evidence if none is likeliest."""
    if tool is not None:
        return Recognised(TOOLS[tool], (f"--from {tool}",))
    if document.tool is not None:
        return Recognised(TOOLS[document.tool], (document.command or document.tool,))
    keys = [entry.key for entry in document.entries]
    if any(key in keys for key in OURS):
        raise ConfigError(
            text(
                f"{document.path.name} is a YAML of swiftbox already",
                f"{document.path.name} 已是 swiftbox 的 YAML",
            ),
            hint=f"swiftbox check {document.path}",
        )
    seen = [Recognised(candidate, marks(candidate, keys)) for candidate in TOOLS.values()]
    seen.sort(key=lambda candidate: -len(candidate.by))
    first, second = seen[:2]
    if len(first.by) >= ENOUGH and len(first.by) > len(second.by):
        return first
    raise _unrecognised(document, keys, seen)


def marks(tool: ForeignTool, keys: Collection[str]) -> tuple[str, ...]:
    """Return the keys that are usual in configs of one tool and unknown to the others."""
    return tuple(key for key in tool.marks if key in keys)


def _unrecognised(document: Document, keys: list[str], seen: list[Recognised]) -> ConfigError:
    listed = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
    counted = "; ".join(f"{tool.tool.title}: {', '.join(tool.by) or '-'}" for tool in seen)
    name = document.path.name
    if not keys:
        message = text(f"{name} sets nothing", f"{name} 没有任何设置")
    else:
        message = text(
            f"{name} is not clearly a config of LLaMA-Factory, axolotl or ms-swift\n"
            f"its keys: {listed}\nrecognized by: {counted}",
            f"{name} 看不出是 LLaMA-Factory、axolotl 还是 ms-swift 的配置\n"
            f"其中的键：{listed}\n看到的特征：{counted}",
        )
    return ConfigError(
        message,
        hint=text(
            f"name the tool: --from {' | '.join(TOOLS)}; a YAML with keys of swiftbox "
            f"needs no import (swiftbox check {document.path})",
            f"请指明来源：--from {' | '.join(TOOLS)}；用本工具键名的 YAML 可直接运行"
            f"（swiftbox check {document.path}）",
        ),
    )
