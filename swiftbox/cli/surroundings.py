"""What every verb relies on: readable arguments, a current folder, a state folder; light."""

from __future__ import annotations

import os
from collections.abc import Iterable

from swiftbox.errors import ConfigError, MachineError
from swiftbox.language import text


def require_text(arguments: Iterable[str]) -> None:
    """Raise ConfigError for an argument that is not UTF-8 text, or that holds a zero byte."""
    for argument in arguments:
        if not _is_text(argument):
            raise ConfigError(
                text(
                    f"argument {argument!a} is not UTF-8 text",
                    f"参数 {argument!a} 不是 UTF-8 文字",
                ),
                hint=text(
                    "write it in UTF-8; rename a file whose name is in another encoding",
                    "请用 UTF-8 书写；若文件名为其他编码，请重命名该文件",
                ),
            )


def require_folders() -> None:
    """Raise MachineError if there is no usable current folder, or no place for the state folder."""
    try:
        current = os.getcwd()
    except FileNotFoundError:
        raise MachineError(
            text("the current folder was deleted", "当前目录已被删除"),
            hint=text("change to another one: cd ~", "请切换到其他目录：cd ~"),
        ) from None
    if not _is_text(current):
        raise MachineError(
            text(
                f"the name of the current folder is not UTF-8 text: {current!a}",
                f"当前目录的名称不是 UTF-8 文字：{current!a}",
            ),
            hint=text("rename it, or work in another folder", "请重命名，或换一个目录"),
        )
    requested = os.environ.get("SWIFTBOX_HOME", "")
    state = os.path.expanduser(requested) if requested else os.path.expanduser("~/.swiftbox")
    if not os.path.isabs(requested or state) or not _is_text(state):
        variable = "SWIFTBOX_HOME" if requested else "HOME"
        shown = requested or os.environ.get("HOME", "")
        raise MachineError(
            text(
                f"{variable} should be an absolute path in UTF-8 (got {shown!a})",
                f"{variable} 应为 UTF-8 的绝对路径（当前为 {shown!a}）",
            ),
            hint=text(
                "set SWIFTBOX_HOME to the folder that keeps runs and caches: "
                "export SWIFTBOX_HOME=/data/swiftbox",
                "请把 SWIFTBOX_HOME 设为存放运行与缓存的目录：export SWIFTBOX_HOME=/data/swiftbox",
            ),
        )


def _is_text(value: str) -> bool:
    if value.isascii():
        return "\0" not in value
    return not any("\ud800" <= letter <= "\udfff" for letter in value)
