"""Log probabilities hold the bytes of their tokens: joined, they are the text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from own_server import Server, serving
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from swiftbox.serving.token_bytes import token_bytes

RARE = {"temperature": 2.0, "seed": 3, "max_tokens": 60, "extra_body": {"ignore_eos": True}}
"""A random model that writes any bytes: parts of characters, and bytes of none."""


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    with serving(tiny) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with server.client() as official:
        yield official


def joined(logs: list[Any]) -> str:
    raw = b"".join(bytes(log.bytes) for log in logs if log.bytes is not None)
    return raw.decode("utf-8", "replace")


@pytest.mark.parametrize("stream", [False, True])
def test_the_bytes_of_a_chat_rebuild_its_text(stream: bool, client: OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    keys: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "n": 2, **RARE}
    answer = client.chat.completions.create(model="tiny", messages=messages, stream=stream, **keys)
    texts, logs = ["", ""], [[], []]  # type: ignore[var-annotated]
    for part in answer if stream else [answer]:
        for choice in part.choices:
            content = choice.delta.content if stream else choice.message.content
            texts[choice.index] += content or ""
            logs[choice.index] += choice.logprobs.content if choice.logprobs else []
    assert [joined(each) for each in logs] == texts
    assert "\ufffd" in "".join(texts)
    assert all(top.bytes is None or bytes(top.bytes) for log in logs[0] for top in log.top_logprobs)


def test_log_probabilities_of_a_stream_arrive_with_text(client: OpenAI) -> None:
    keys: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True}
    parts = client.chat.completions.create(model="tiny", stream=True, **keys, **RARE)
    choices = [part.choices[0] for part in parts]
    with_logs = [choice for choice in choices if choice.logprobs]
    assert all(choice.delta.content or choice.finish_reason for choice in with_logs)
    assert any(len(choice.logprobs.content) > 1 for choice in with_logs)


@pytest.mark.parametrize("stream", [False, True])
def test_the_tokens_of_a_completion_rebuild_its_text(stream: bool, client: OpenAI) -> None:
    answer = client.completions.create(
        model="tiny", prompt="json", logprobs=2, stream=stream, **RARE
    )
    text, tokens, offsets = "", [], []  # type: ignore[var-annotated]
    for part in answer if stream else [answer]:
        for choice in part.choices:
            text += choice.text
            tokens += choice.logprobs.tokens if choice.logprobs else []
            offsets += choice.logprobs.text_offset if choice.logprobs else []
    assert "".join(tokens).rstrip("\ufffd") == text.rstrip("\ufffd")
    if not stream:  # a stream decides later what is no character
        parts = zip(offsets, tokens, strict=True)
        assert [text[at : at + len(token)] for at, token in parts] == tokens


def sentencepiece(first_space: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer in the form of Llama 2's, with tokens for single bytes."""
    pieces = ["<unk>", "<s>", "\u2581json", "\u2581", "a", *(f"<0x{at:02X}>" for at in range(256))]
    model = models.BPE(
        {piece: number for number, piece in enumerate(pieces)},
        [],
        unk_token="<unk>",
        byte_fallback=True,
    )
    raw = Tokenizer(model)
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * first_space)
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>")


@pytest.mark.parametrize("first_space", [False, True])
def test_bytes_of_sentencepiece_rebuild_its_text(first_space: bool) -> None:
    tokenizer = sentencepiece(first_space)
    names = ["\u2581json", "\u2581", "<s>", *(f"<0x{at:02X}>" for at in "世".encode()), "a"]
    ids = tokenizer.convert_tokens_to_ids(names)
    table = token_bytes(tokenizer)
    raws = [table.of(token, is_first=number == 0) for number, token in enumerate(ids)]
    assert raws[2] is None
    text = b"".join(raw or b"" for raw in raws).decode()
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert text.startswith(" ") is not first_space


def test_the_bytes_of_every_token_are_its_text(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    table = token_bytes(tokenizer)
    for token in range(3, len(tokenizer)):
        assert (table.of(token) or b"").decode("utf-8", "replace") == tokenizer.decode([token])
