"""The template of the tiny models has passed its trial, in homes where nothing tests the trial."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from tiny import TEMPLATE

from swiftbox.security.templates import VERSION


def remember_template(home: Path) -> None:
    """Record in a home that the template passed: each trial is a child of 0.1 s."""
    content = f"{VERSION}\n{TEMPLATE}".encode()
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "templates").mkdir(mode=0o700)
    (home / "templates" / sha256(content).hexdigest()).touch(mode=0o600)
