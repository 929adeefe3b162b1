"""Where the menu starts: paints the home screen, then imports the menu, which takes its place."""

from __future__ import annotations

import sys

from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.menu import home
from swiftbox.menu.terminal import hold_typed_keys


def main() -> int:
    """Open the menu; raise ConfigError without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            text("the menu needs a terminal", "菜单需要终端"),
            hint=text(
                "without one: `swiftbox run FILE`; `swiftbox --help` lists all verbs",
                "没有终端时请用 `swiftbox run FILE`；`swiftbox --help` 列出全部子命令",
            ),
        )
    with hold_typed_keys():
        painted = home.paint()
        from swiftbox.menu.loop import run
    sys.stdout.write(f"\x1b[{painted}A\r\x1b[J")
    sys.stdout.flush()
    return run()
