"""The tokens with which a template closes answers, as ends of generation beside a trained model.

Every server reads `eos_token_id` of generation_config.json. A base model that was trained with
another template (ChatML) learns to close its answers with a token that is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.files import read_json, write_json
from swiftbox.templates.abilities import Abilities

GENERATION_FILE = "generation_config.json"
"""In the folder of a model; beside an adapter if its training added an end."""

KEY = "eos_token_id"


def closing_tokens(abilities: Abilities, tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the tokens that close answers, of those that a tokenizer never splits.

    A token that stands within answers too, around their reasoning or a call, does not close them.
    """
    # A trailer that begins as the next turn does may leave its first token in the closing text.
    closings = [] if abilities.trailer.strip() else [abilities.closing]
    if not abilities.is_closed:
        closings = [abilities.user_opener, abilities.tool_opener]
    around = abilities.think.before + abilities.think.after if abilities.think else ""
    within = around + abilities.called
    known = [token for token in tokens if token]
    last = (max(known, key=partial(_end, closing), default="") for closing in closings)
    return tuple(
        dict.fromkeys(
            token
            for token, closing in zip(last, closings, strict=True)
            if token in closing and token not in within
        )
    )


def _end(closing: str, token: str) -> tuple[int, int]:
    """Return where a token ends in a text for the last time, and its length."""
    start = closing.rfind(token)
    return (start + len(token), len(token)) if start >= 0 else (-1, 0)


def end_ids(folder: Path) -> tuple[int, ...]:
    """Return the ids of the tokens at which generation ends, by the settings of a folder."""
    ids = read_json(folder / GENERATION_FILE).get(KEY)
    if ids is None:
        ids = read_json(folder / "config.json").get(KEY)
    return tuple(number for number in as_list(ids) if isinstance(number, int))


def added_ends(adapters: Iterable[Path]) -> list[int]:
    """Return the ids of the ends that the trainings of some adapters wrote beside them."""
    return [number for adapter in adapters for number in end_ids(adapter)]


def write_end_ids(folder: Path, ids: Sequence[int], base_folder: Path) -> None:
    """Add ids to the generation config of a folder, which has the base's without its own."""
    path = folder / GENERATION_FILE
    content: dict[str, Any] = read_json(path) or read_json(base_folder / GENERATION_FILE)
    present = end_ids(folder) or end_ids(base_folder)
    if set(ids) - set(present):
        write_json(path, {**content, KEY: list(dict.fromkeys((*present, *ids)))})
