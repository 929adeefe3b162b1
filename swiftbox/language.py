"""The language of the interface: texts are written in both languages, and one is shown."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` needs no paths; importing pathlib takes 10 ms
    from pathlib import Path

LANGUAGES = {"en": "English", "zh": "中文"}


def text(en: str, zh: str) -> str:
    """Return the text in the current language."""
    return zh if language() == "zh" else en


def language() -> str:
    """Return the current language: SWIFTBOX_LANG, else the saved choice, else the locale."""
    requested = os.environ.get("SWIFTBOX_LANG", "").lower()[:2]
    if requested in LANGUAGES:
        return requested
    saved = saved_language()
    if saved in LANGUAGES:
        return saved
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name, ""):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def accept_any_text(encoding: str | None = None) -> None:
    """Let stdout and stderr take every character: those that the encoding lacks are escaped.

    A terminal or a pipe in GBK or Latin-1 must not end a run that prints an emoji.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and (encoding or stream.errors == "strict"):
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def home() -> Path:
    """Return the folder of the user's state: SWIFTBOX_HOME, else ~/.swiftbox."""
    from pathlib import Path

    return Path(_home())


CACHE_VARIABLE = "SWIFTBOX_CACHE_HOME"
"""Set by a run whose user's state folder cannot be written: its caches are in the run folder."""


def cache_home() -> Path:
    """Return the folder of caches and locks: the state folder, or one in the run folder."""
    from pathlib import Path

    return Path(os.environ.get(CACHE_VARIABLE) or _home())


def _home() -> str:
    return os.environ.get("SWIFTBOX_HOME") or os.path.expanduser("~/.swiftbox")


def saved_language() -> str:
    """Return the choice saved by the menu; empty if there is none."""
    try:
        with open(os.path.join(_home(), "language"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def save_language(name: str) -> None:
    """Save the choice of the menu for later starts, and use it now."""
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "language").write_text(name + "\n", encoding="utf-8")
    os.environ["SWIFTBOX_LANG"] = name
