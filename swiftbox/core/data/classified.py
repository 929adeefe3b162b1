"""Tokenize rows that are classified, as transformers' text-classification pipeline does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.encode import EncodedExample
from swiftbox.core.data.samples import IGNORED, ClassifiedRow, TokenRow
from swiftbox.data.classified import no_tokens
from swiftbox.data.example import Example, RowError
from swiftbox.templates.account import Account
from swiftbox.templates.classified import ClassifiedRenderer, ClassifiedText
from swiftbox.templates.template import ConversationTemplate

SEGMENTS = "token_type_ids"
"""What a tokenizer says of tokens for models that tell two texts apart."""


def encode_classified(
    examples: Sequence[Example], tokenizer: Any, config: TrainConfig
) -> list[EncodedExample]:
    """Encode texts, pairs of texts and conversations with their labels."""
    renderer = ClassifiedRenderer.of(
        config, lambda: ConversationTemplate.of_tokenizer(tokenizer, config.chat_template_kwargs)
    )
    return [_encoded(example, renderer, tokenizer, config) for example in examples]


def _encoded(
    example: Example, renderer: ClassifiedRenderer, tokenizer: Any, config: TrainConfig
) -> EncodedExample:
    renderer = replace(renderer, account=Account())
    try:
        classified = renderer.classified(example)
        sample = _sample(classified, tokenizer, config)
    except RowError as error:
        return EncodedExample(error=error)
    return EncodedExample((sample,), renderer.account)


def _sample(classified: ClassifiedText, tokenizer: Any, config: TrainConfig) -> ClassifiedRow:
    tokens, uncut = _tokens(classified, tokenizer), 0
    if len(tokens["input_ids"]) > config.max_length and config.truncation == "right":
        uncut = len(tokens["input_ids"])
        tokens = _tokens(classified, tokenizer, truncation=True, max_length=config.max_length)
    ids = np.asarray(tokens["input_ids"], dtype=np.int32)
    if not len(ids):
        raise no_tokens()
    row = TokenRow(ids, np.full(len(ids), IGNORED, np.int32))
    segments = tokens.get(SEGMENTS, [])
    second_from = segments.index(1) if 1 in segments else 0
    return ClassifiedRow(row, classified.target, second_from, uncut)


def _tokens(classified: ClassifiedText, tokenizer: Any, **cut: Any) -> Any:
    """Tokenize a text or a pair; a text that the template wrote has its special tokens."""
    return tokenizer(
        classified.text,
        classified.second,
        add_special_tokens=not classified.is_rendered,
        return_attention_mask=False,
        **cut,
    )
