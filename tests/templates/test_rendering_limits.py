"""Conversations are rendered within limits of time and length, and the limits cost nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import preferences
import pytest
from hostile_templates import ENDLESS, EXPLODES_WHEN_ASKED, WHEN_LONG
from transformers import AutoTokenizer

from swiftbox.core.data.encode import encode_conversations
from swiftbox.data.example import Example, Turn
from swiftbox.errors import DataError
from swiftbox.templates import limits
from swiftbox.templates.limits import RenderingTooLong, TimeLimit
from swiftbox.templates.template import ConversationTemplate


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny)


def chat(content: str) -> Example:
    return Example((Turn("user", content), Turn("assistant", "Hello.")))


def encode(examples: list[Example], tokenizer: Any) -> list[Any]:
    config = preferences.config("sft", train_on_prompt=True)
    return encode_conversations(examples, tokenizer, config)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RENDER_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_row_whose_rendering_does_not_end_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = WHEN_LONG.replace("-1", "0")
    assert len(encode([chat("Hi.")] * 3, tokenizer)) == 3
    with pytest.raises(DataError, match="does not end within"):
        encode([chat("Hi."), chat("long " * 10_000)], tokenizer)


@pytest.mark.usefixtures("impatient")
def test_every_way_to_render_has_the_limit(tokenizer: Any) -> None:
    tokenizer.chat_template = ENDLESS
    with pytest.raises(DataError, match="does not end within"):
        ConversationTemplate.of_tokenizer(tokenizer).render([{"role": "user", "content": "Hi."}])


def test_a_row_that_renders_a_much_longer_text_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = EXPLODES_WHEN_ASKED.replace("10 ** 10", "10 ** 7").replace("-1", "0")
    with pytest.raises(DataError, match="10,000,010 characters"):
        encode([chat("HANG")], tokenizer)


def test_many_rows_together_may_take_longer_than_the_limit_of_each() -> None:
    with TimeLimit(1.0) as limit:
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            limit.restart()
            sum(range(1000))


def test_a_limit_reaches_only_its_own_thread_and_block() -> None:
    outcomes: list[str] = []

    def render(within_s: float, takes_s: float) -> None:
        began = time.monotonic()
        try:
            with TimeLimit(within_s):
                while time.monotonic() - began < takes_s:
                    pass
            outcomes.append("ended")
        except RenderingTooLong:
            outcomes.append("too long")

    threads = [threading.Thread(target=render, args=(0.2, 60.0)) for _ in range(2)]
    threads += [threading.Thread(target=render, args=(60.0, 1.0)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ended", "ended", "too long", "too long"]


def test_a_limit_that_expires_at_the_end_of_its_block_reaches_nothing_after_it() -> None:
    for attempt in range(20):
        try:
            with TimeLimit(0.0):
                time.sleep(limits.POLL_S * attempt / 10)
        except RenderingTooLong:
            pass
        for _ in range(1000):
            sum(range(10))
