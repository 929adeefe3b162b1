"""What a stranger may write to act on a terminal, and what must never arrive there."""

from __future__ import annotations

import os
import pty
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PAYLOAD = "INTRUDER"
"""Text inside string sequences: a terminal would take it as a title, a link or the clipboard."""

ATTACKS: dict[str, str] = {
    "cursor": "\x1b[66;66H",
    "erase": "\x1b[2J\x1b[3J",
    "colour": "\x1b[38;2;66;66;66m",
    "private mode": "\x1b[?66h",
    "report": "\x1b[6n\x1b[>66c",
    "reset": "\x1bc",
    "character set": "\x1b(0",
    "double height": "\x1b#3",
    "title": f"\x1b]0;{PAYLOAD}\x07",
    "title, closed by ST": f"\x1b]2;{PAYLOAD}\x1b\\",
    "clipboard": f"\x1b]52;c;{PAYLOAD}\x07",
    "link": f"\x1b]8;;file:///{PAYLOAD}\x1b\\",
    "shell command of a terminal": f"\x1b]1337;{PAYLOAD}\x07",
    "device string": f"\x1bP+q{PAYLOAD}\x1b\\",
    "application string": f"\x1b_G{PAYLOAD}\x1b\\",
    "privacy string": f"\x1b^{PAYLOAD}\x1b\\",
    "start of string": f"\x1bX{PAYLOAD}\x1b\\",
    "8-bit cursor": "\x9b66;66H",
    "8-bit title": f"\x9d0;{PAYLOAD}\x9c",
    "8-bit device string": f"\x90+q{PAYLOAD}\x9c",
    "8-bit application string": f"\x9f{PAYLOAD}\x9c",
    "without an end": "\x1b]0;",
    "in one another": "\x1b\x1b[66;66H[66;66H",
    "cut in two": "\x1b[66\x1b[66;66H;66H",
    "alone": "\x1b",
    "backspace": "good\x08\x08\x08\x08evil",
    "carriage return": "evil\rgood",
    "bell": "\x07",
    "delete": "\x7f",
    "vertical tab": "\x0b\x0c",
    "next line": "\x85",
    "NUL": "\x00",
    "direction": "\u202egnp.exe\u202c",
    "isolate": "\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "zero width": "pay\u200bpal\u2060\ufeff",
    "tags": "".join(chr(0xE0000 + ord(letter)) for letter in "evil"),
    "line separator": "a\u2028b\u2029c",
}

FORBIDDEN = re.compile(
    r"\x1b\[[0-?]*66|\x1b[^\[]|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
    r"\u200b\u200e\u200f\u061c\u2060\ufeff\u2028\u2029\U000e0000-\U000e007f]"
)
"""What no screen may get; swiftbox itself moves the cursor and sets colours with other numbers."""

READABLE = "Ж é e\u0301 中文，。 العربية שלום می‌خواهم क्‍ष 한국어 👩‍👩‍👧 🏳️‍🌈 ❤️ 👍🏽"
"""Text that stays as it is: joiners and marks belong to it."""


def everything() -> str:
    """Return all attacks in one line of text."""
    return "".join(f"<{name}:{attack}>" for name, attack in ATTACKS.items())


def mixed(seed: int, parts: int = 12) -> str:
    """Return attacks, halves of attacks and readable text in random order."""
    dice = random.Random(seed)
    pieces = []
    for _ in range(parts):
        attack = dice.choice(list(ATTACKS.values()))
        pieces.append(
            dice.choice((attack, attack[: len(attack) // 2], attack[len(attack) // 2 :], READABLE))
        )
    return "".join(pieces)


def intrusions(shown: str, *, plain: bool = True) -> list[str]:
    """Return what of the attacks arrived; on a `plain` screen also any escape character."""
    arrived = FORBIDDEN.findall(shown)
    if plain:
        arrived += re.findall(r"\x1b|\r(?!\n)", shown)
    return arrived


class Screen:
    """A terminal whose bytes are recorded."""

    def __init__(self) -> None:
        self.front, back = pty.openpty()
        self.file = os.fdopen(back, "w", encoding="utf-8", errors="backslashreplace")
        self.received = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                content = os.read(self.front, 65536)
            except OSError:  # the last writer has closed the terminal
                return
            if not content:
                return
            self.received += content

    def close(self) -> str:
        """Return everything that was written."""
        self.file.close()
        self._reader.join()
        os.close(self.front)
        return self.received.decode("utf-8", "replace").replace("\r\n", "\n")


def shown_by(write: Callable[[Any], object]) -> str:
    """Return what a function writes to a terminal."""
    screen = Screen()
    try:
        write(screen.file)
    finally:
        shown = screen.close()
    return shown


@contextmanager
def standard_terminal(streams: Any) -> Iterator[Screen]:
    """Make a recorded terminal the standard output of this process; `streams` is monkeypatch."""
    screen = Screen()
    streams.setattr("sys.stdout", screen.file)
    streams.setattr("sys.stderr", screen.file)
    yield screen
