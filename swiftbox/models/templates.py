"""The chat templates of a model's or an adapter's folder, as transformers would load them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swiftbox.security.regular import read_regular
from swiftbox.security.templates import ChatTemplate, require_bounded
from swiftbox.templates.files import LARGEST_SETTINGS, template_file

SETTINGS = ("tokenizer_config.json", "chat_template.json", "processor_config.json")
"""Files whose key `chat_template` is a template, or a list of named ones."""


def templates_of(folder: Path) -> list[ChatTemplate]:
    """Return all chat templates of a folder; raise ConfigError for a file that is not one."""
    files = [folder / "chat_template.jinja"]
    files += sorted((folder / "additional_chat_templates").glob("*.jinja"))
    templates = [template_file(path) for path in files if path.exists()]
    for name in SETTINGS:
        templates += _templates_in(folder / name)
    return templates


def _templates_in(path: Path) -> Iterator[ChatTemplate]:
    """Yield the templates in a settings file; other defects of it are found elsewhere."""
    try:
        settings = json.loads(read_regular(path, LARGEST_SETTINGS))
    except (OSError, ValueError, RecursionError):
        return
    value: Any = settings.get("chat_template") if isinstance(settings, dict) else None
    if isinstance(value, str):
        yield ChatTemplate(value, str(path))
    named: Any = value if isinstance(value, list) else []
    if isinstance(value, dict):
        named = [{"template": template} for template in value.values()]
    for entry in named:
        template = entry.get("template") if isinstance(entry, dict) else None
        if isinstance(template, str):
            yield ChatTemplate(template, str(path))


def require_bounded_templates(folder: Path, *, used: bool = True) -> None:
    """Try the templates of a folder; raise ConfigError for those that must not be used.

    Without `used`, only those that take all time or memory are refused.
    """
    require_bounded(templates_of(folder), used=used)
