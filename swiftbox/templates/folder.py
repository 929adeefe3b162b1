"""The chat template and the special tokens of a model's folder, as transformers loads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.security.regular import read_regular
from swiftbox.templates.chatml import CHATML
from swiftbox.templates.class_defaults import default_tokens
from swiftbox.templates.files import LARGEST_SETTINGS, SPECIAL_TOKENS, template_file
from swiftbox.templates.template import ConversationTemplate, named_templates

if TYPE_CHECKING:
    from swiftbox.config.groups import ModelFields


def template_of_folder(folder: Path, config: ModelFields) -> ConversationTemplate:
    """Return the template that a training of this config renders with.

    Raises ConfigError for a file that cannot be read, DataError if there is no template.
    """
    chosen = None
    if config.template == "chatml":
        chosen = CHATML
    elif config.template != "auto":
        chosen = template_file(Path(config.template).expanduser()).source
    return _in_folder(folder, chosen, getattr(config, "chat_template_kwargs", None))


def own_template(folder: Path, variables: Mapping[str, Any]) -> ConversationTemplate:
    """Return the template of a model's folder; raises as `template_of_folder` does."""
    return _in_folder(folder, None, variables)


def _in_folder(
    folder: Path, chosen: str | None, variables: Mapping[str, Any] | None
) -> ConversationTemplate:
    """Return a chosen template, or the folder's, with the folder's special tokens."""
    settings = _settings(folder / "tokenizer_config.json")
    templates = {"default": chosen} if chosen is not None else _templates(folder, settings)
    tokens = _special_tokens(folder, settings, "".join(templates.values()))
    return named_templates(templates, tokens, variables, str(folder))


def _templates(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Return the templates by name: those of separate files, else those of the settings."""
    templates = {}
    if (folder / "chat_template.jinja").is_file():
        templates["default"] = template_file(folder / "chat_template.jinja").source
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[path.stem] = template_file(path).source
    value = settings.get("chat_template")
    if templates or not value:
        return templates
    if isinstance(value, list):
        return {entry["name"]: entry["template"] for entry in value}
    return dict(value) if isinstance(value, dict) else {"default": str(value)}


def _special_tokens(folder: Path, settings: dict[str, Any], source: str) -> dict[str, str]:
    """Return the special tokens: of the settings, of an older file, of the tokenizer's class."""
    tokens = {name: _content(settings[name]) for name in SPECIAL_TOKENS if name in settings}
    if "added_tokens_decoder" not in settings:  # files of older versions
        older = _settings(folder / "special_tokens_map.json")
        tokens |= {name: _content(older[name]) for name in SPECIAL_TOKENS if name in older}
    if any(name in source for name in SPECIAL_TOKENS if name not in tokens):
        defaults = default_tokens(str(settings.get("tokenizer_class")))
        tokens = {**defaults, **tokens}
    return {name: tokens[name] for name in SPECIAL_TOKENS if tokens.get(name)}


def _content(token: Any) -> str:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _settings(path: Path) -> dict[str, Any]:
    """Return the settings of a file; what is wrong with it is reported by the model's check."""
    try:
        value = json.loads(read_regular(path, LARGEST_SETTINGS))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
