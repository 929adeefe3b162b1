"""The chat template and the special tokens of a model's folder, as transformers loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swiftbox.config.groups import ModelFields
from swiftbox.security.regular import read_regular
from swiftbox.templates.chatml import CHATML
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


def template_of_folder(folder: Path, config: ModelFields) -> ConversationTemplate:
    """Return the template that a training of this config renders with.

    Raises DataError if the folder has none.
    """
    settings = _settings(folder / "tokenizer_config.json")
    tokens = {**_tokens(_settings(folder / "special_tokens_map.json")), **_tokens(settings)}
    variables = getattr(config, "chat_template_kwargs", {})
    return named_templates(_templates(folder, config, settings), tokens, variables, str(folder))


def _templates(folder: Path, config: ModelFields, settings: dict[str, Any]) -> dict[str, str]:
    if config.template == "chatml":
        return {"default": CHATML}
    if config.template != "auto":
        return {"default": Path(config.template).expanduser().read_text(encoding="utf-8")}
    templates = {}
    if (folder / "chat_template.jinja").is_file():
        templates["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[path.stem] = path.read_text(encoding="utf-8")
    if templates:
        return templates
    value = settings.get("chat_template")
    if isinstance(value, list):
        return {entry["name"]: entry["template"] for entry in value}
    if isinstance(value, dict):
        return dict(value)
    return {"default": value} if value else {}


def _tokens(settings: dict[str, Any]) -> dict[str, str]:
    tokens = {}
    for name in SPECIAL_TOKENS:
        value = settings.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            tokens[name] = content
    return tokens


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_regular(path, LARGEST_SETTINGS))
    except (OSError, ValueError):
        return {}  # models/tokenizer_files.py reports it
    return value if isinstance(value, dict) else {}
