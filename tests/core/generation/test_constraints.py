"""Grammars of answers: what may come next, from where on, and what a batch makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from swiftbox.core.generation.batch_sampler import BatchSampler
from swiftbox.core.generation.constraints import Constraint, GrammarError, compile_schema
from swiftbox.core.generation.sampling import Sampling, TokenSampler

VOCABULARY = 640
"""More rows than the tokenizer has tokens, as models are padded."""

ENDS = frozenset({2})


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny)


def allowed(constraint: Constraint) -> list[int]:
    bits = constraint.bits()
    assert bits is not None
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")).tolist()


def test_only_the_grammars_tokens_are_allowed_until_it_is_complete(tokenizer: Any) -> None:
    constraint = compile_schema({"const": 7}, tokenizer, VOCABULARY, ENDS).start()
    (seven,) = tokenizer("7").input_ids
    assert allowed(constraint) == [seven]
    constraint.add(seven)
    assert constraint.is_complete
    assert not constraint.failure


def test_a_grammar_begins_after_reasoning(tokenizer: Any) -> None:
    grammar = compile_schema({"const": 7}, tokenizer, VOCABULARY, ENDS, after="</think>")
    constraint = grammar.start()
    for token in tokenizer("I think 8, or </thin 9 </think").input_ids:
        constraint.add(token)
        assert constraint.bits() is None
    (close, seven) = (tokenizer(part).input_ids[0] for part in (">", "7"))
    constraint.add(close)
    assert allowed(constraint) == [seven]


def test_two_answers_of_one_grammar_are_independent(tokenizer: Any) -> None:
    grammar = compile_schema({"enum": [1, 2]}, tokenizer, VOCABULARY, ENDS)
    first, second = grammar.start(), grammar.start()
    (token,) = tokenizer("1").input_ids
    first.add(token)
    assert first.is_complete
    assert len(allowed(second)) == 2


def test_a_schema_that_is_not_supported_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(GrammarError, match="not"):
        compile_schema({"not": {}}, tokenizer, VOCABULARY, ENDS)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_masks_its_constrained_rows_only(temperature: float, tokenizer: Any) -> None:
    grammar = compile_schema({"const": 7}, tokenizer, VOCABULARY, ENDS)
    settings = {"max_tokens": 9, "temperature": temperature, "seed": 1}
    rows = [Sampling(**settings, grammar=each) for each in (None, grammar, None)]  # type: ignore[arg-type]
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(0))

    def tokens(samplings: list[Sampling]) -> list[int]:
        samplers = [TokenSampler(each, [], row) for row, each in enumerate(samplings)]
        batch = BatchSampler(samplers, "cpu")
        assert batch.resolves is all(each.grammar is None for each in samplings)
        return [sampled.token for sampled in batch.sample(logits).read()]

    mixed, free = tokens(rows), tokens([Sampling(**settings)] * 3)  # type: ignore[arg-type]
    assert mixed[1:2] == tokenizer("7").input_ids
    assert (mixed[0], mixed[2]) == (free[0], free[2])
