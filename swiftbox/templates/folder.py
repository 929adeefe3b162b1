"""The chat template and the special tokens of a model's folder, as transformers loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swiftbox.config.conversations import TemplateVariables
from swiftbox.config.groups import ModelFields
from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.security.printable import printable
from swiftbox.security.regular import read_regular
from swiftbox.security.templates import LARGEST_BYTES, ChatTemplate
from swiftbox.templates.chatml import CHATML
from swiftbox.templates.class_defaults import default_tokens
from swiftbox.templates.template import ConversationTemplate, named_templates

LARGEST_SETTINGS = 64 * 2**20
"""Bytes; tokenizer_config.json lists every added token."""

SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""The tokens that transformers gives to templates, in its order."""


def template_of_folder(folder: Path, config: ModelFields) -> ConversationTemplate:
    """Return the template that a training of this config renders with.

    Raises ConfigError for a file that cannot be read, DataError if there is no template.
    """
    settings = _settings(folder / "tokenizer_config.json")
    templates = _templates(folder, config, settings)
    tokens = _special_tokens(folder, settings, "".join(templates.values()))
    variables = config.chat_template_kwargs if isinstance(config, TemplateVariables) else {}
    return named_templates(templates, tokens, variables, str(folder))


def _templates(folder: Path, config: ModelFields, settings: dict[str, Any]) -> dict[str, str]:
    """Return the templates by name: those of separate files, else those of the settings."""
    if config.template == "chatml":
        return {"default": CHATML}
    if config.template != "auto":
        return {"default": template_file(Path(config.template).expanduser()).source}
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


def template_file(path: Path) -> ChatTemplate:
    """Return the template of a file; raise ConfigError if it is too large or no text."""
    try:
        content = read_regular(path, LARGEST_BYTES)
        return ChatTemplate(content.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "UTF-8"
        raise ConfigError(
            text(
                f"chat template {printable(str(path))} cannot be read: {reason}",
                f"对话模板 {printable(str(path))} 无法读取：{reason}",
            ),
            hint=text(
                "a template is a text file in UTF-8, of at most 1 MiB",
                "模板应为 UTF-8 文本文件，不超过 1 MiB",
            ),
        ) from None


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
