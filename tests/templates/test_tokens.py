"""A row has the tokens of the server's prompt, then those of the answer."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import train_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from swiftbox.templates.renderings import LearnedSpan, Rendering
from swiftbox.templates.tokens import TokenizedText, continued, tokenized

CORPUS = ["hello there, answer: yes", "answer: yes, hello", "say yes; say no; answer: no"] * 20


def byte_level() -> Any:
    """Return a tokenizer as GPT-2's: it puts no space in front of a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def with_words() -> Any:
    """Return a tokenizer as GPT-2's, which splits off the last space or line break of several."""
    tokenizer: Any = train_tokenizer().backend_tokenizer
    return tokenizer


def with_prefix_space() -> Any:
    """Return a tokenizer as Llama 2's: it puts a space in front of every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Replace("▁", " ")
    trainer = trainers.BpeTrainer(vocab_size=120, show_progress=False)
    tokenizer.train_from_iterator([*CORPUS, "\n.a" * 3, "\nyes\nno"], trainer)
    return tokenizer


def tokenize_with(tokenizer: Any) -> Any:
    def tokenize(text: str) -> TokenizedText:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return TokenizedText(encoding.ids, encoding.offsets)

    return tokenize


@pytest.mark.parametrize("make", [byte_level, with_words, with_prefix_space])
@pytest.mark.parametrize(
    "prompt", ["hello there, answer: ", "hello there, answer:", "say ye", "answer:\n\n", "no   "]
)
def test_the_tokens_before_an_answer_are_those_of_the_prompt_alone(make: Any, prompt: str) -> None:
    tokenize = tokenize_with(make())
    answer = "yes; say no"
    rendering = Rendering(
        prompt + answer, (LearnedSpan(len(prompt), len(prompt + answer), 1),), len(prompt)
    )
    tokens = tokenized(rendering, tokenize(rendering.text), tokenize)
    alone = tokenize(prompt)
    assert list(tokens.ids[: len(alone.ids)]) == list(alone.ids)
    assert tokens.offsets[len(alone.ids)][0] == len(prompt)
    assert tokens.offsets[-1][1] == len(rendering.text)


def test_a_row_without_a_straddling_token_is_tokenized_as_one_text() -> None:
    tokenizer = train_tokenizer().backend_tokenizer
    tokenize = tokenize_with(tokenizer)
    text = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    start = text.index("yes")
    together = tokenize(text)
    assert (
        tokenized(Rendering(text, (LearnedSpan(start, len(text), 1),), start), together, tokenize)
        is together
    )


def test_a_text_that_continues_another_gets_no_space_in_front() -> None:
    tokenizer = with_prefix_space()
    assert tokenizer.decode(tokenizer.encode("yes").ids) == " yes"
    assert tokenizer.decode(continued("yes", tokenize_with(tokenizer)).ids) == "yes"


def test_every_learned_part_starts_with_a_token() -> None:
    tokenize = tokenize_with(byte_level())
    text = "say yes; say no; answer: yes"
    spans = tuple([LearnedSpan(at, at + 3, 1) for at in (5, 11, 26)])
    tokens = tokenized(Rendering(text, spans, 5), tokenize(text), tokenize)
    starts = {start for start, _ in tokens.offsets}
    assert {5, 11, 26} <= starts
