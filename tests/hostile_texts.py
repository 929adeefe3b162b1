"""Texts that try to become a path outside of their folder, and names that only look odd."""

from __future__ import annotations

import random
from collections.abc import Iterator

CLIMBING = (
    "..",
    "../x",
    "../../../.profile",
    "a/../../../.profile",
    "../" * 40 + "etc/passwd",
    "./../.ssh/authorized_keys",
    "a/./../../b",
    "..\\..\\x",
    "refs/../../../.profile",
)
ABSOLUTE = (
    "/",
    "/etc/passwd",
    "//server/x",
    "~",
    "~/.profile",
    "~root/x",
    "C:\\x",
    "C:/x",
    "\\\\s\\x",
)
CONTROL = (
    "a\0b",
    "\0",
    "a\nb",
    "a\r",
    "\x1b[2J",
    "a\tb",
    "\x7f",
    "a\u2028b",
    "\u202egpj.exe",
    "\ud800",
)
LONG = ("x" * 256, "é" * 130, "x/" * 600 + "x", "x" * 5000)
LOOK_ALIKES = (
    "\u2025",
    "\u2025/x",
    "\uff0e\uff0e\uff0fx",
    "..\u2215..\u2215x",
    "a\uff0fb",
    "a\u2044..",
    "\u2024\u2024",
    "x\uff3cy",
)
ENCODED = ("%2e%2e", "%2e%2e%2f%2e%2e%2fx", "..%2fx", "%00", "%2Fetc%2Fpasswd", "..%c0%afx")
HIDDEN = (
    ".profile",
    ".ssh/authorized_keys",
    "a/.git/hooks/post-checkout",
    ".swiftbox-verified.json",
)
WINDOWS = ("CON", "nul.txt", "a:stream", "x.", "x ", "aux/../x", "COM1/../../x")
REFS = (
    "-x",
    "--upload-pack=x",
    "a..b",
    "a@{1}",
    "@",
    "x.lock",
    "a//b",
    "/a",
    "a/",
    "a b",
    "a~1",
    "a^",
    "",
)

KINDS: dict[str, tuple[str, ...]] = {
    "climbing": CLIMBING,
    "absolute": ABSOLUTE,
    "control": CONTROL,
    "long": LONG,
    "look-alike": LOOK_ALIKES,
    "encoded": ENCODED,
    "hidden": HIDDEN,
    "windows": WINDOWS,
    "refs": REFS,
}


def hostile_texts(count: int = 0, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield a kind and a text: all of the table, then `count` seeded mixtures of their parts."""
    for kind, texts in KINDS.items():
        for hostile in texts:
            yield kind, hostile
    numbers = random.Random(seed)
    pieces = ["..", ".", "/", "\\", "~", "\0", "\n", "a", "x.json", "%2e", "\u2025", ":", " ", "@{"]
    for _ in range(count):
        yield "mixed", "".join(numbers.choices(pieces, k=numbers.randint(1, 9)))
