"""Answers that must follow a grammar: which tokens may come next, by llguidance.

A `Grammar` is compiled once for a request; each of its answers has a `Constraint`, the state of the
grammar after its tokens. Taking a token costs microseconds. The mask of the next token is then
computed in another thread, without the interpreter's lock, while the model computes the step.

Shapes: R rows of the batch, C constrained rows, V vocabulary.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerFast

from swiftbox.core.generation.device_access import upload

JSON_OPTIONS: Any = {
    # As models write it: one space, or a line with its indentation. Without a limit, an answer may
    # consist of spaces for ever.
    "whitespace_flexible": True,
    "whitespace_pattern": r"( |\n {0,12})?",
    "lenient": False,  # what is not supported is an error
}

MASK_THREADS = 2

COMPILERS = 8
"""Tokenizers whose tables for masks are kept; each takes about 50 MB for 150,000 tokens."""


class GrammarError(ValueError):
    """A grammar that cannot be compiled, with the reason of the library."""


class Mask(Protocol):
    """The state of a grammar in one answer, as the sampler needs it."""

    def bits(self) -> bytes | None:
        """Return the allowed tokens, a bit each; None while all are allowed."""


class Grammar:
    """A compiled JSON schema for one tokenizer."""

    def __init__(self, matcher: LLMatcher, tokenizer: Any, after: str = "") -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self.after = after
        """The text after which the grammar begins; before it, anything may be written."""

    def start(self) -> Constraint:
        """Return the constraint of a new answer."""
        return Constraint(self._matcher.deep_copy(), self._tokenizer, self.after)


class Constraint:
    """The state of a grammar after the tokens of one answer."""

    def __init__(self, matcher: LLMatcher, tokenizer: Any, after: str) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._after = after
        self._tail: list[int] = []
        self._mask: Future[bytes] | None = None
        self.is_complete = False
        """Whether nothing may follow."""
        self.failure = ""
        """Why the grammar cannot continue; empty if it can."""
        if not after:
            self._mask = _threads().submit(self._matcher.compute_bitmask)

    def bits(self) -> bytes | None:
        """Return the allowed tokens, a bit each; None while all are allowed."""
        return None if self._mask is None else self._mask.result()

    def add(self, token: int) -> None:
        """Take a token that was chosen; the mask of the next one is computed meanwhile."""
        if self._after:
            self._wait_for_start(token)
            return
        self.bits()  # the matcher is used by one thread at a time
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            self.failure = self._matcher.get_error().partition("\n")[0]
        self.is_complete = self._matcher.is_stopped()
        if not self.is_complete:
            self._mask = _threads().submit(self._matcher.compute_bitmask)

    def _wait_for_start(self, token: int) -> None:
        """Begin once the text before the grammar is complete."""
        self._tail.append(token)
        self._tail = self._tail[-len(self._after) :]
        if self._after in str(self._tokenizer.decode(self._tail)):
            self._after = ""
            self._mask = _threads().submit(self._matcher.compute_bitmask)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MASK_THREADS, thread_name_prefix="masks")


_compiling = threading.Lock()


@functools.lru_cache(maxsize=COMPILERS)
def _compiler(tokenizer: Any, vocabulary: int, ends: frozenset[int]) -> LLTokenizer:
    """Return the tables of a tokenizer, which take about a second."""
    return from_tokenizer(
        tokenizer, n_vocab=max(vocabulary, len(tokenizer)), eos_token=[*ends] or None
    )


def compile_schema(
    schema: Any, tokenizer: Any, vocabulary: int, ends: frozenset[int], *, after: str = ""
) -> Grammar:
    """Compile a JSON schema; raise GrammarError if the library does not support it.

    `ends` are the tokens that end an answer, of which the first is allowed after the last letter.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise GrammarError("its tokenizer has no tables of the tokenizers library")
    try:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=JSON_OPTIONS)
        with _compiling:
            tables = _compiler(tokenizer, vocabulary, ends)
    except ValueError as error:  # the tokenizer may be of a kind that the library cannot read
        raise GrammarError(str(error)) from None
    matcher = LLMatcher(tables, grammar, log_level=0)
    if matcher.is_error():
        raise GrammarError(matcher.get_error())
    return Grammar(matcher, tokenizer, after)


class GrammarMasks:
    """The masks of the constrained rows of a batch."""

    def __init__(self, constraints: Mapping[int, Mask]) -> None:
        self._constraints = constraints

    @classmethod
    def of(cls, constraints: Sequence[Mask | None]) -> GrammarMasks | None:
        """Return the masks of a batch; None without any."""
        rows = {row: each for row, each in enumerate(constraints) if each is not None}
        return cls(rows) if rows else None

    def apply(self, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (R, V) without the tokens that the grammars forbid."""
        vocabulary = scores.shape[1]
        masks = {row: each.bits() for row, each in self._constraints.items()}
        active = {row: raw for row, raw in masks.items() if raw is not None}
        if not active:
            return scores
        allowed = np.stack([_allowed(raw, vocabulary) for raw in active.values()])  # (C, V)
        rows = upload(list(active), torch.long, scores.device)
        mask = torch.from_numpy(allowed).to(scores.device)
        values = scores.index_select(0, rows)
        return scores.index_copy(0, rows, values.masked_fill(~mask, -torch.inf))


def _allowed(raw: bytes, vocabulary: int) -> Any:
    """Return which tokens are allowed (V,); rows of the model without a token are not."""
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=vocabulary, bitorder="little")
    return bits.view(np.bool_)
