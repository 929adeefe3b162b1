"""Tokenize examples into samples, with labels on the tokens to learn. Shapes: T tokens of a row.

The chat template is always the tokenizer's own, so training and serving render alike: the texts and
the learned parts come from `templates/`, where `check` finds the same bad rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.samples import (
    IGNORED,
    LabeledAnswer,
    PreferencePair,
    PromptSample,
    Sample,
    TokenRow,
    TurnRows,
)
from swiftbox.data.example import Example, RowError
from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.templates.account import EACH_TOKENS, ROWS_EACH, Account
from swiftbox.templates.examples import ExampleRenderer
from swiftbox.templates.renderings import LearnedSpan, Rendering, prompt_messages
from swiftbox.templates.template import ConversationTemplate
from swiftbox.templates.tokens import TokenizedText, known_tokens, tokenized

TOKENIZER_BATCH = 1000
"""Texts per tokenizer call: enough to keep its threads busy, small enough for memory."""


@dataclass(frozen=True)
class EncodedExample:
    """The samples of an example, and what its template did to it; none if it is a bad row."""

    samples: tuple[Sample, ...] = ()
    account: Account = field(default_factory=Account)
    error: RowError | None = None
    """Why the example cannot be trained on."""


def encode_texts(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[EncodedExample]:
    """Tokenize raw texts, each ended with the end-of-text token and split at max_length."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    encoded: list[EncodedExample] = []
    for first in range(0, len(texts), TOKENIZER_BATCH):
        batch = tokenizer(
            list(texts[first : first + TOKENIZER_BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
        )
        for ids in batch["input_ids"]:
            tokens = np.asarray(ids + end, dtype=np.int32)
            starts = range(0, len(tokens), max_length)
            pieces = [tokens[start : start + max_length] for start in starts]
            encoded.append(EncodedExample(tuple([TokenRow(piece, piece) for piece in pieces])))
    return encoded


def encode_conversations(
    examples: Sequence[Example], tokenizer: Any, config: TrainConfig
) -> list[EncodedExample]:
    """Encode conversations: a row of tokens, or a row for each turn that is rendered apart."""

    def sample_of(_example: Example, rows: Sequence[TokenRow]) -> Sample:
        if len(rows) == 1:
            return rows[0]
        return TurnRows(tuple(learned_once(rows) if config.train_on_prompt else rows))

    return _encoded(examples, _Encoder.of(tokenizer, config), sample_of)


def encode_pairs(
    examples: Sequence[Example], tokenizer: Any, config: TrainConfig, *, learns_prompt: bool = False
) -> list[EncodedExample]:
    """Encode preference pairs; the turns that both conversations start with are the prompt."""

    def sample_of(example: Example, rows: Sequence[TokenRow]) -> Sample:
        return PreferencePair(rows[0], rows[1], example.margin or 0.0, learns_prompt)

    return _encoded(examples, _Encoder.of(tokenizer, config), sample_of)


def encode_labeled_answers(
    examples: Sequence[Example], tokenizer: Any, config: TrainConfig
) -> list[EncodedExample]:
    """Encode labeled answers: what the assistant says after the last user turn."""

    def sample_of(example: Example, rows: Sequence[TokenRow]) -> Sample:
        return LabeledAnswer(rows[0], bool(example.label))

    return _encoded(examples, _Encoder.of(tokenizer, config), sample_of)


def encode_prompts(
    examples: Sequence[Example], tokenizer: Any, config: TrainConfig
) -> list[EncodedExample]:
    """Encode prompts with the generation prompt appended; keep their other columns.

    The messages of a sample are those that its template renders to the same prompt.
    """
    encoder = _Encoder.of(tokenizer, config)
    renderer = encoder.renderer

    def sample_of(example: Example, rows: Sequence[TokenRow]) -> Sample:
        messages = prompt_messages(renderer.template, renderer.options, example.messages)
        return PromptSample(rows[0], tuple(messages), dict(example.columns))

    return _encoded(examples, encoder, sample_of)


SampleOf = Callable[[Example, Sequence[TokenRow]], Sample]
"""Makes the sample of an example from the rows of its renderings, in their order."""


def _encoded(
    examples: Sequence[Example], encoder: _Encoder, sample_of: SampleOf
) -> list[EncodedExample]:
    """Render and tokenize examples; a row that cannot be rendered has its error instead."""
    encoded: list[EncodedExample] = []
    for first in range(0, len(examples), TOKENIZER_BATCH):
        part = examples[first : first + TOKENIZER_BATCH]
        rendered = [encoder.rendered(example) for example in part]
        rows = iter(
            encoder.rows([rendering for renderings, _ in rendered for rendering in renderings])
        )
        for example, (renderings, result) in zip(part, rendered, strict=True):
            taken = [next(rows) for _ in renderings]
            if len(taken) > 1 and result.account.counts[ROWS_EACH]:
                result.account.count(EACH_TOKENS, sum(map(len, taken)))
            samples = (sample_of(example, taken),) if taken else ()
            encoded.append(replace(result, samples=samples))
    return encoded


@dataclass(frozen=True)
class _Encoder:
    """A tokenizer with the renderer of a training."""

    tokenizer: Any
    renderer: ExampleRenderer

    @staticmethod
    def of(tokenizer: Any, config: TrainConfig) -> _Encoder:
        """Return the encoder of a training; raise DataError for an unfit tokenizer."""
        require_offsets(tokenizer)
        template = ConversationTemplate.of_tokenizer(tokenizer, config.chat_template_kwargs)
        return _Encoder(tokenizer, ExampleRenderer.of(template, config))

    def rendered(self, example: Example) -> tuple[list[Rendering], EncodedExample]:
        """Return the renderings of an example, and its result without samples."""
        renderer = replace(self.renderer, account=Account())
        try:
            renderings = [rendering for _, rendering in renderer.renderings(example, "")]
        except RowError as error:
            return [], EncodedExample(error=error)
        return renderings, EncodedExample(account=renderer.account)

    def rows(self, renderings: Sequence[Rendering]) -> list[TokenRow]:
        """Tokenize renderings and label what is learned."""
        if not renderings:
            return []
        batch = self._tokenize([rendering.text for rendering in renderings])
        return [
            labeled_row(tokenized(rendering, tokens, self._tokenize_text), rendering.spans)
            for rendering, tokens in zip(renderings, batch, strict=True)
        ]

    def _tokenize(self, texts: list[str]) -> list[TokenizedText]:
        batch = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        return list(map(TokenizedText, batch["input_ids"], batch["offset_mapping"]))

    def _tokenize_text(self, content: str) -> TokenizedText:
        return self._tokenize([content])[0]


def require_offsets(tokenizer: Any) -> None:
    """Raise DataError for a tokenizer that does not say which text a token stands for."""
    if not tokenizer.is_fast:
        raise DataError(
            text(
                "this tokenizer does not report the character offsets of its tokens",
                "该分词器不提供 token 在文本中的位置",
            ),
            hint=text(
                "use the model's fast tokenizer (tokenizer.json)",
                "请使用该模型的快速分词器（tokenizer.json）",
            ),
        )


def labeled_row(tokens: TokenizedText, spans: Sequence[LearnedSpan]) -> TokenRow:
    """Return a row whose learned tokens are those that start inside one of the spans."""
    ids = np.asarray(tokens.ids, dtype=np.int32)
    count = len(tokens.offsets)
    starts = np.fromiter((start for start, _ in tokens.offsets), dtype=np.int64, count=count)
    learned = np.zeros(count, dtype=np.bool_)  # (T,)
    weights = np.ones(count, dtype=np.float32)  # (T,)
    for span in spans:
        inside = (starts >= span.start) & (starts < span.end)
        learned |= inside
        weights[inside] = span.weight
    labels = np.where(learned, ids, IGNORED).astype(np.int32)
    return TokenRow(ids, labels, None if (weights == 1).all() else weights)


def learned_once(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Return rows in which a token is learned only in the first row that begins with it."""
    learned = []
    for row, known in zip(
        rows, known_tokens([row.input_ids.tolist() for row in rows]), strict=True
    ):
        labels = np.where(np.arange(len(row)) < known, IGNORED, row.labels).astype(np.int32)
        learned.append(replace(row, labels=labels))
    return learned
