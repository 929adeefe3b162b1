"""Show the doctor's report in a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swiftbox.devices.doctor import MISSING, OK, WARN, DoctorReport
from swiftbox.language import text
from swiftbox.security.printable import printable


def render(report: DoctorReport) -> Any:
    """Return a table of the checks with the fixes below it, for rich."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    marks = {
        OK: (text("ok", "正常"), "green"),
        WARN: (text("warning", "注意"), "yellow"),
        MISSING: (text("missing", "缺少"), "red"),
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(text("result", "检测结果"), overflow="fold")
    table.add_column("", no_wrap=True)
    for check in report.checks:
        table.add_row(Text(check.name), Text(printable(check.result)), Text(*marks[check.verdict]))
    parts: list[Any] = [table]
    for title, verdicts in (
        (text("What to do", "处理方法"), (MISSING, WARN)),
        (text("Optional", "可选"), (OK,)),
    ):
        fixes = [check for check in report.checks if check.fix and check.verdict in verdicts]
        if fixes:
            parts.append(Text(title, style="bold"))
        for check in fixes:
            parts.append(Text(f"  {check.name}:"))
            parts.append(_Fix(check.fix))
    return Group(*parts)


@dataclass(frozen=True)
class _Fix:
    """A fix that fits the terminal: a command is broken with backslashes, prose at spaces."""

    fix: str

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.padding import Padding
        from rich.text import Text

        shown = printable(self.fix, lines=True)
        if shown.startswith("pip "):
            shown = "\n".join(break_command(shown, options.max_width - 4))
        yield Padding(Text(shown), (0, 0, 0, 4))


def break_command(command: str, width: int) -> list[str]:
    """Break a command at a width, so that the copied lines still run."""
    lines, line = [], ""
    for word in command.split(" "):
        longer = f"{line} {word}" if line else word
        if line and len(longer) + len(" \\") > width:
            lines.append(f"{line} \\")
            longer = f"  {word}"
        line = longer
    return [*lines, line]
