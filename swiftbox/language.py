"""The language of the interface: both texts stand where they are used, one is picked when shown."""

from __future__ import annotations

import os
from pathlib import Path

LANGUAGES = {"en": "English", "zh": "中文"}


def text(en: str, zh: str) -> str:
    """Pick the text of the current language."""
    return zh if language() == "zh" else en


def language() -> str:
    """Name the current language: SWIFTBOX_LANG, else the saved choice, else the locale's."""
    asked = os.environ.get("SWIFTBOX_LANG", "").lower()[:2]
    if asked in LANGUAGES:
        return asked
    saved = saved_language()
    if saved in LANGUAGES:
        return saved
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name, ""):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def home() -> Path:
    """Return the folder of swiftbox's own state: SWIFTBOX_HOME, else ~/.swiftbox."""
    return Path(os.environ.get("SWIFTBOX_HOME") or Path.home() / ".swiftbox")


def saved_language() -> str:
    """Read the choice made in the menu; an empty string when none was made."""
    try:
        return (home() / "language").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def save_language(name: str) -> None:
    """Keep the choice made in the menu for the next start, and use it now."""
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "language").write_text(name + "\n", encoding="utf-8")
    os.environ["SWIFTBOX_LANG"] = name
