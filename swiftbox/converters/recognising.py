"""Tell whose config a file is, from the keys that only one tool has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from swiftbox.converters import TOOLS
from swiftbox.converters.reading import Document
from swiftbox.converters.row import Tool
from swiftbox.errors import ConfigError
from swiftbox.language import text

OURS = ("task", "version")
"""Keys that no other tool writes."""

ENOUGH = 2
"""One key of another tool may stand in anybody's file."""


@dataclass(frozen=True)
class Recognised:
    """A tool and what it was recognised by: its keys, or its command."""

    tool: Tool
    by: tuple[str, ...]


def recognise(document: Document, asked: str | None = None) -> Recognised:
    """Return whose config it is; raise ConfigError with what was seen where none is likeliest."""
    if asked is not None:
        return Recognised(TOOLS[asked], (f"--from {asked}",))
    if document.tool is not None:
        return Recognised(TOOLS[document.tool], (document.command or document.tool,))
    keys = [one.key for one in document.entries]
    if any(key in keys for key in OURS):
        raise ConfigError(
            text(
                f"{document.path.name} is a YAML of swiftbox already",
                f"{document.path.name} 已是 swiftbox 的 YAML",
            ),
            hint=f"swiftbox check {document.path}",
        )
    seen = [Recognised(tool, marks(tool, keys)) for tool in TOOLS.values()]
    seen.sort(key=lambda one: -len(one.by))
    first, second = seen[:2]
    if len(first.by) >= ENOUGH and len(first.by) > len(second.by):
        return first
    raise _unrecognised(document, keys, seen)


def marks(tool: Tool, keys: Collection[str]) -> tuple[str, ...]:
    """Return the keys that are usual in configs of a tool and foreign to the others."""
    return tuple(key for key in tool.marks if key in keys)


def _unrecognised(document: Document, keys: list[str], seen: list[Recognised]) -> ConfigError:
    listed = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
    counted = "; ".join(f"{one.tool.title}: {', '.join(one.by) or '-'}" for one in seen)
    name = document.path.name
    if not keys:
        message = text(f"{name} sets nothing", f"{name} 没有任何设置")
    else:
        message = text(
            f"{name} is not clearly a config of LLaMA-Factory, axolotl or ms-swift\n"
            f"its keys: {listed}\nmarks seen: {counted}",
            f"{name} 看不出是 LLaMA-Factory、axolotl 还是 ms-swift 的配置\n"
            f"其中的键：{listed}\n看到的特征：{counted}",
        )
    return ConfigError(
        message,
        hint=text(
            f"say whose it is: --from {' | '.join(TOOLS)}; a YAML with our own keys runs as it is "
            f"(swiftbox check {document.path})",
            f"请指明来源：--from {' | '.join(TOOLS)}；用本工具键名的 YAML 可直接运行"
            f"（swiftbox check {document.path}）",
        ),
    )
