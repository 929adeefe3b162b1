"""Ends of generation that a training adds: the tokens with which its template closes answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.core.generation.parity import end_tokens
from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.templates.abilities import abilities_of
from swiftbox.templates.closing import KEY, closing_tokens, write_end_ids
from swiftbox.templates.template import ConversationTemplate


def add_end_tokens(model: Any, tokenizer: Any, config: TrainConfig, emit: Emit) -> None:
    """Let a model stop at the tokens that close the answers it learns, and say so."""
    generation = getattr(model, "generation_config", None)
    if generation is None or config.generates_answers:
        return
    ends = end_tokens(generation, tokenizer)
    closing = _closing_ids(tokenizer, config)
    added = {token: number for token, number in closing.items() if number not in ends}
    if not added:
        return
    configured = [number for number in as_list(generation.eos_token_id) if number is not None]
    generation.eos_token_id = [*configured, *added.values()]
    listed = ", ".join(f"{token} ({number})" for token, number in added.items())
    message = text(
        f"answers end with {listed}, which is added to {KEY} of the result: servers stop there",
        f"回答以 {listed} 结束，已加入结果的 {KEY}：服务时会在此停止",
    )
    emit(events.NOTE, key=KEY, message=message)


def write_end_tokens(folder: Path, base_folder: Path, tokenizer: Any, config: TrainConfig) -> None:
    """Write the ends that a training added beside its adapter, with the settings of the base."""
    if config.generates_answers:
        return
    ids = [
        number
        for number in _closing_ids(tokenizer, config).values()
        if number != tokenizer.eos_token_id
    ]
    write_end_ids(folder, ids, base_folder)


def _closing_ids(tokenizer: Any, config: TrainConfig) -> dict[str, int]:
    """Return the tokens that close answers, with their ids; none without a template."""
    if not tokenizer.chat_template:
        return {}
    try:
        template = ConversationTemplate.of_tokenizer(tokenizer, config.chat_template_kwargs)
    except DataError:  # several templates and no default: the rows are texts
        return {}
    tokens: dict[str, int] = tokenizer.get_added_vocab()
    return {token: tokens[token] for token in closing_tokens(abilities_of(template), tokens)}
