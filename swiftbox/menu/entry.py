"""Where the menu starts: paints the home screen, then imports the menu, which takes its place."""

from __future__ import annotations

import sys

from swiftbox.language import text
from swiftbox.menu import home
from swiftbox.menu.terminal import hold_typed_keys


def main() -> int:
    """Open the menu; without a terminal say what to run instead."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write(
            text(
                "the menu needs a terminal; without one: swiftbox run FILE (see swiftbox --help)",
                "菜单需要终端；没有终端时请用：swiftbox run FILE（见 swiftbox --help）",
            )
            + "\n"
        )
        return 2
    with hold_typed_keys():
        painted = home.paint()
        from swiftbox.menu.loop import run
    sys.stdout.write(f"\x1b[{painted}A\r\x1b[J")
    sys.stdout.flush()
    return run()
