"""The tokens of a tokenizer and their ids, from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.models.metadata import MetadataError, read_object
from swiftbox.templates.files import SPECIAL_TOKENS


def token_ids(folder: Path) -> dict[str, int]:
    """Return the id of each token of a folder's tokenizer.json; empty without a readable one."""
    try:
        content = read_object(folder / "tokenizer.json")
    except (MetadataError, OSError):
        return {}
    model = content.get("model")
    ids = _ids_of_vocabulary(model.get("vocab") if isinstance(model, dict) else None)
    added = content.get("added_tokens")
    for entry in added if isinstance(added, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            ids[str(entry.get("content"))] = entry["id"]
    return ids


def tokens_of_settings(folder: Path) -> list[str]:
    """Return the tokens that a folder's tokenizer_config.json names.

    Those that tokenizer.json does not have are added when transformers loads the tokenizer.
    """
    try:
        settings = read_object(folder / "tokenizer_config.json")
    except (MetadataError, OSError):
        return []
    entries = [settings.get(key) for key in SPECIAL_TOKENS]
    for key in ("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens"):
        value = settings.get(key)
        entries += value.values() if isinstance(value, dict) else as_list(value)
    contents = [entry.get("content") if isinstance(entry, dict) else entry for entry in entries]
    return list(dict.fromkeys(content for content in contents if isinstance(content, str)))


def _ids_of_vocabulary(vocabulary: Any) -> dict[str, int]:
    """Return ids by token: a mapping, or for Unigram a list of tokens with their scores."""
    if isinstance(vocabulary, dict):
        return {
            str(token): token_id
            for token, token_id in vocabulary.items()
            if isinstance(token_id, int)
        }
    if isinstance(vocabulary, list):
        pairs = [entry for entry in vocabulary if isinstance(entry, list) and entry]
        return {str(entry[0]): token_id for token_id, entry in enumerate(pairs)}
    return {}
