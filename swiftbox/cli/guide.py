"""`guide`: the pages of the user guide, rendered in a terminal and plain when piped."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator

from swiftbox.cli.output import DONE, answer, say
from swiftbox.guide import pages
from swiftbox.language import text
from swiftbox.security.printable import printable

LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
"""[words](target): a terminal shows the words; the pages name every target in them."""

COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)

WIDTH = 100
"""Longer lines are hard to read, however wide the terminal is."""


def guide(options: argparse.Namespace) -> int:
    """Show a page of the guide; without a topic, list the topics."""
    if options.topic is None:
        for topic, title in pages.titles().items():
            answer(f"{topic:<16} {title}")
        say(text("read one: swiftbox guide quantize", "阅读：swiftbox guide quantize"))
        return DONE
    page = LINK.sub(r"\1", COMMENT.sub("", pages.page(options.topic)))
    page = printable(page, lines=True)
    if sys.stdout.isatty():
        render(page)
    else:
        answer("\n".join(plain_lines(page)))
    return DONE


def render(page: str) -> None:
    """Print Markdown with headings, tables and code as the terminal can show them."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(page), width=min(WIDTH, console.width))


def plain_lines(page: str) -> Iterator[str]:
    """Yield the page without its marks: fences, backquotes and heading signs."""
    in_code = False
    for line in page.splitlines():
        if line.startswith("```"):
            in_code = not in_code
        elif in_code:
            yield f"    {line}".rstrip()
        elif line.startswith("#"):
            heading = line.lstrip("# ").replace("`", "")
            yield heading
            yield ("=" if line.startswith("# ") else "-") * len(heading)
        else:
            yield line.replace("`", "").replace("**", "")
