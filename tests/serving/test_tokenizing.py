"""Texts of requests to tokens: the tokens of transformers' own call, within a limit of bytes."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.service import LONG_PROMPT_PRIORITY, _give_way
from swiftbox.serving.token_bytes import token_bytes
from swiftbox.serving.tokenizing import tokenize

TEXTS = ["", " a  b", "The json module", "<|im_start|>user\n世界 🙂<|im_end|>", "\x00\ufffd\n\n"]


@pytest.mark.parametrize("special", [False, True])
def test_the_tokens_are_those_of_the_tokenizer(special: bool, tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    actual = [tokenize(tokenizer, text, 1000, special=special) for text in TEXTS]
    assert actual == [tokenizer(text, add_special_tokens=special).input_ids for text in TEXTS]


def test_a_text_that_cannot_fit_is_refused_and_the_longest_that_fits_is_not(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    longest = max((tokenizer.decode([number]) for number in range(len(tokenizer))), key=len)
    assert token_bytes(tokenizer).longest == len(longest)
    assert len(tokenize(tokenizer, longest * 19, 20, special=False)) == 19
    with pytest.raises(ApiError, match=r"has 20 tokens, but the limit"):
        tokenize(tokenizer, longest * 20, 20, special=False)
    with pytest.raises(ApiError, match=r"bytes, but the limit of 20 tokens"):
        tokenize(tokenizer, longest * 21, 20, special=False)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority")
def test_the_thread_of_long_prompts_leaves_the_processor_to_others() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    with ThreadPoolExecutor(1, initializer=_give_way) as threads:
        assert threads.submit(priority).result() == max(before, LONG_PROMPT_PRIORITY)
    assert priority() == before
